import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EAGAIN, EMFILE, ENOMEM, ENOSPC, EPERM, EUSERS

import pytest

from mocker.isolation import ContainerSpec, SetupError, Tmpfs, Volume
from mocker.isolation.calls import perform
from mocker.isolation.command import make_env
from mocker.isolation.handshake import READY, send_go, send_refusal
from mocker.isolation.plan import make_plan
from mocker.isolation.program import _GATE, Program, explain_clone, release
from mocker.isolation.spec import DEFAULT_PATH
from mocker.isolation.users import User
from tests.in_namespaces import run_in_child
from tests.requirements import requires_busybox, requires_root

pytestmark = requires_busybox

TRUE = ContainerSpec(["true"])


@contextmanager
def open_program(spec: ContainerSpec) -> Iterator[tuple[Program, socket.socket]]:
    """Prepare an init whose report goes nowhere; yield the parent's end of its control as well."""
    parent, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report = os.open(os.devnull, os.O_WRONLY)
    with parent, control:
        yield Program(make_plan(spec), control, report, (0, 1, 2)), parent
    os.close(report)


def explain_first(program: Program) -> SetupError:
    """Return what the failure of the init's first calls is explained by."""
    try:
        perform(program.build[0])
    except OSError as error:
        return program.explain(0, error)
    raise AssertionError("the init goes on")


def test_init_goes_on_once_the_parent_says_so() -> None:
    with open_program(TRUE) as (program, parent):
        send_go(parent, [])

        assert run_in_child(lambda: perform(program.build[0])) is None


@pytest.mark.parametrize("hint", ["", "grant the caller a range"])
def test_init_does_not_go_on_after_a_refusal_and_tells_it_whole(hint: str) -> None:
    with open_program(TRUE) as (program, parent):
        send_refusal(parent, SetupError("write the user mapping", EPERM, "", hint))

        with pytest.raises(SetupError) as info:
            run_in_child(lambda: explain_first(program))

    found = info.value
    assert (found.step, found.errno, found.path, found.hint) == (
        "write the user mapping",
        EPERM,
        "",
        hint,
    )


def test_init_ends_without_a_word_if_the_parent_is_gone() -> None:
    with open_program(TRUE) as (program, parent):
        parent.close()

        with pytest.raises(EOFError):
            run_in_child(lambda: explain_first(program))


def explain(program: Program, parent: socket.socket, done: int, errno: int) -> SetupError:
    """Return what an error means after that many lists were done with."""

    def act() -> tuple[str, int, str]:
        perform(program.build[0])
        error = program.explain(done, OSError(errno, os.strerror(errno)))
        return error.step, error.errno, error.path

    send_go(parent, [])
    return SetupError(*run_in_child(act))


def test_failure_of_a_step_has_its_name_and_place() -> None:
    with open_program(TRUE) as (program, parent):
        for index, step in enumerate(program.plan.steps):
            error = explain(program, parent, index + 2, EPERM)

            assert (error.step, error.errno, error.path) == (step.action, EPERM, step.path)


def test_failure_to_become_root_is_said() -> None:
    with open_program(TRUE) as (program, parent):
        assert explain(program, parent, 1, EPERM).step == "set the groups of user 0"


def test_failure_after_the_last_step_is_the_clones() -> None:
    with open_program(TRUE) as (program, parent):
        last = len(program.build) - 1

        assert explain(program, parent, last, ENOSPC).step == "create namespaces"


@pytest.mark.parametrize(
    ("errno", "step"),
    [
        (ENOSPC, "create namespaces"),
        (EUSERS, "create namespaces"),
        (EPERM, "create namespaces"),
        (EAGAIN, "start the command"),
        (EMFILE, "start the command"),
        (ENOMEM, "start the command"),
    ],
)
def test_command_that_cannot_be_cloned_lacks_namespaces_or_something_else(
    errno: int, step: str
) -> None:
    error = explain_clone(OSError(errno, ""), make_plan(TRUE).mapping)

    assert (error.step, error.errno) == (step, errno)


def test_command_without_namespaces_of_its_own_cannot_lack_them() -> None:
    assert explain_clone(OSError(EPERM, ""), None).step == "start the command"


def test_all_is_prepared_where_all_is_known() -> None:
    with open_program(TRUE) as (program, _):
        assert len(program.build) == 2 + len(program.plan.steps) + 1
        assert program.become
        assert program.release


@pytest.mark.parametrize(
    "fields",
    [
        {"user": "nobody"},
        {"terminal": True},
        {"rootfs": "host"},
        {"tmpfs": [Tmpfs("/etc")]},
        {"volumes": [Volume("/dev/../etc/passwd", "/etc/passwd")]},
    ],
    ids=["user", "terminal", "root", "/etc", "passwd"],
)
def test_what_depends_on_the_container_is_left_to_the_init(fields: dict[str, object]) -> None:
    with open_program(ContainerSpec(["true"], **fields)) as (program, _):  # type: ignore[arg-type]
        assert len(program.build) == 2 + len(program.plan.steps)
        assert (program.become, program.release) == ([], [])


def test_lists_that_are_the_same_for_every_container_are_made_once() -> None:
    with open_program(TRUE) as (first, _):
        second = Program(first.plan, first.control, first.report, first.stdio)

    assert all(one is other for one, other in zip(first.build, second.build, strict=True))
    assert first.release is second.release


@requires_root
def test_users_of_the_host_are_not_mapped() -> None:
    with open_program(ContainerSpec(["true"], userns="host")) as (program, _):
        assert program.plan.mapping is None
        assert program.become


@pytest.mark.parametrize(
    ("control", "kept", "left"),
    [
        (102, -1, [102]),
        (100, -1, [100]),
        (103, -1, [103]),
        (101, 103, [101, 103]),
        (103, 101, [101, 103]),
        (102, 103, [102, 103]),
    ],
)
def test_init_lets_the_command_go_on_and_keeps_what_it_needs_alone(
    control: int, kept: int, left: list[int]
) -> None:
    parent, init = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gate = os.eventfd(0)
    child = os.fork()
    if child == 0:
        for number in (100, 101, 102, 103):
            os.dup2(init.fileno(), number)
        _GATE.value = gate
        perform(release(None, control, kept))
        # The only way out that is still open.
        os._exit(sum(1 << number for number in range(4) if is_open(100 + number)))
    _, status = os.waitpid(child, 0)

    with parent, init:
        message, count = parent.recv(16), os.eventfd_read(gate)
    os.close(gate)
    assert os.waitstatus_to_exitcode(status) == sum(1 << number - 100 for number in left)
    assert (message, count) == (READY, 1)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(("terminal", "kind"), [(False, "dumb"), (True, "xterm")])
def test_environment_tells_of_the_user_and_the_terminal(terminal: bool, kind: str) -> None:
    spec = ContainerSpec(["true"], hostname="web", terminal=terminal, env={"A": "1"})

    assert make_env(spec, User(5, 6, (), "/home/ann")) == {
        "PATH": DEFAULT_PATH,
        "HOME": "/home/ann",
        "TERM": kind,
        "HOSTNAME": "web",
        "A": "1",
    }
