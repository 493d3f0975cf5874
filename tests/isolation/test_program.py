import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EAGAIN, EMFILE, ENOMEM, ENOSPC, EPERM, EUSERS
from pathlib import Path
from typing import NamedTuple

import pytest

from mocker.isolation import ContainerSpec, SetupError, Tmpfs, Volume
from mocker.isolation.command import make_env
from mocker.isolation.handshake import READY, send_go, send_refusal
from mocker.isolation.memory import FAILED, read_head, walk
from mocker.isolation.plan import make_plan
from mocker.isolation.program import (
    _GATE,
    BECOME,
    BUILD,
    EXECUTE,
    RELEASE,
    Prepared,
    Program,
    explain_clone,
    make_program,
    release,
)
from mocker.isolation.spec import DEFAULT_PATH
from mocker.isolation.tape import Tape, load, perform
from mocker.isolation.users import User
from tests.in_namespaces import run_in_child
from tests.requirements import requires_busybox, requires_root

pytestmark = requires_busybox

TRUE = ContainerSpec(["true"])


class Opened(NamedTuple):
    """A program whose report goes nowhere.

    Attributes:
        tape: What its init is to do.
        program: For the init.
        parent: The other end of its control.
    """

    tape: Tape
    program: Program
    parent: socket.socket


@contextmanager
def open_program(spec: ContainerSpec) -> Iterator[Opened]:
    """Prepare what the init of a container does."""
    parent, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    report = os.open(os.devnull, os.O_WRONLY)
    plan = make_plan(spec)
    tape = make_program(plan, control.fileno(), (0, 1, 2))
    with parent, control:
        prepared = Prepared(plan, (0, 1, 2), tape.segments)
        yield Opened(tape, Program(control, report, lambda: prepared), parent)
    os.close(report)


def walk_first(opened: Opened) -> None:
    """Do the init's first part alone, in whose place it waits for the parent."""
    opened.tape.set_group(BUILD, opened.tape.segments[:1])
    load(opened.tape, opened.program.setup)
    walk(read_head(BUILD))


def explain_first(opened: Opened) -> SetupError:
    """Return what the failure of the init's first calls is explained by."""
    try:
        walk_first(opened)
    except OSError as error:
        return opened.program.explain(error)
    raise AssertionError("the init goes on")


def test_containers_of_a_kind_share_what_is_not_their_own(tmp_path: Path) -> None:
    specs = [
        ContainerSpec(
            [name],
            hostname=name,
            env={"NAME": name},
            workdir=f"/{name}",
            volumes=[Volume(str(tmp_path), f"/{name}")],
        )
        for name in ("one", "two")
    ]

    first, second = (make_program(make_plan(spec), 5, (0, 1, 2)) for spec in specs)

    assert first.kept is second.kept
    assert first.tail != second.tail


def test_init_goes_on_once_the_parent_says_so() -> None:
    with open_program(TRUE) as opened:
        send_go(opened.parent, [])

        assert run_in_child(lambda: walk_first(opened)) is None


@pytest.mark.parametrize("hint", ["", "grant the caller a range"])
def test_init_does_not_go_on_after_a_refusal_and_tells_it_whole(hint: str) -> None:
    with open_program(TRUE) as opened:
        send_refusal(opened.parent, SetupError("write the user mapping", EPERM, "", hint))

        with pytest.raises(SetupError) as info:
            run_in_child(lambda: explain_first(opened))

    found = info.value
    assert (found.step, found.errno, found.path, found.hint) == (
        "write the user mapping",
        EPERM,
        "",
        hint,
    )


def test_init_ends_without_a_word_if_the_parent_is_gone() -> None:
    with open_program(TRUE) as opened:
        opened.parent.close()

        with pytest.raises(EOFError):
            run_in_child(lambda: explain_first(opened))


def explain(opened: Opened, part: int, errno: int) -> SetupError:
    """Return what an error means in a part of the init's program."""

    def act() -> tuple[str, int, str]:
        walk_first(opened)
        FAILED.value = opened.tape.segments[part][0]
        error = opened.program.explain(OSError(errno, os.strerror(errno)))
        return error.step, error.errno, error.path

    send_go(opened.parent, [])
    return SetupError(*run_in_child(act))


def test_failure_of_a_step_has_its_name_and_place() -> None:
    with open_program(TRUE) as opened:
        for index, step in enumerate(opened.program.plan.steps):
            error = explain(opened, index + 2, EPERM)

            assert (error.step, error.errno, error.path) == (step.action, EPERM, step.path)


def test_failure_to_become_root_is_said() -> None:
    with open_program(TRUE) as opened:
        assert explain(opened, 1, EPERM).step == "set the groups of user 0"


def test_failure_after_the_last_step_is_the_clones() -> None:
    with open_program(TRUE) as opened:
        assert explain(opened, -1, ENOSPC).step == "create namespaces"


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


def start_groups(opened: Opened) -> list[bool]:
    """Return which groups of calls there are on a tape."""

    def act() -> list[bool]:
        load(opened.tape, None)
        return [bool(read_head(group)) for group in (BUILD, BECOME, EXECUTE, RELEASE)]

    return run_in_child(act)


def test_all_is_prepared_where_all_is_known() -> None:
    with open_program(TRUE) as opened:
        assert len(opened.tape.segments) == 2 + len(opened.program.plan.steps) + 1
        assert start_groups(opened) == [True] * 4


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
    spec = ContainerSpec(["true"], **fields)  # type: ignore[arg-type]
    with open_program(spec) as opened:
        assert len(opened.tape.segments) == 2 + len(opened.program.plan.steps)
        assert start_groups(opened) == [True, False, False, False]


@requires_root
def test_users_of_the_host_are_not_mapped() -> None:
    with open_program(ContainerSpec(["true"], userns="host")) as opened:
        assert opened.program.plan.mapping is None
        assert start_groups(opened) == [True] * 4


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
