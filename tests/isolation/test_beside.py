"""What a process beside the command is, on a terminal of its own: the session, its leader, its end.

What it is without one is in `test_desk` and `test_requests`.
"""

import os
import re
import signal
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from mocker.isolation import CommandError, Container, ContainerSpec, ExitStatus, Process, SetupError
from tests.beside import run_script, running
from tests.containers import wait_readable
from tests.leaks import PATIENCE, read_descriptors
from tests.requirements import (
    requires_busybox,
    requires_root,
    requires_subordinate_ids,
    requires_user_namespaces,
)

pytestmark = [requires_busybox, requires_user_namespaces]

CTRL_C, CTRL_Z = b"\x03", b"\x1a"
LONG = "trap '' TERM; echo up; while :; do sleep 0.01; done"


@contextmanager
def on_terminal(
    container: Container, argv: Sequence[str], **how: object
) -> Iterator[tuple[Process, int]]:
    """Start a process from a terminal of 33 rows and 77 columns; yield it and the other side."""
    outer, stdio = os.openpty()
    termios.tcsetwinsize(stdio, (33, 77))
    try:
        with container.start_on_terminal(argv, stdio=(stdio,) * 3, **how) as process:  # type: ignore[arg-type]
            process.poll()
            yield process, process.terminal_fd
    finally:
        os.close(stdio)
        os.close(outer)


def read_all(terminal: int) -> str:
    """Return what is shown until nobody has the terminal."""
    shown = b""
    while wait_readable(terminal, PATIENCE):
        try:
            shown += os.read(terminal, 2**16)
        except OSError:
            break
    return shown.decode()


def read_until(terminal: int, text: bytes) -> None:
    shown = b""
    while text not in shown:
        assert wait_readable(terminal, PATIENCE), shown
        shown += os.read(terminal, 2**16)


def show(container: Container, text: str, **how: object) -> str:
    with on_terminal(container, ["sh", "-c", text], **how) as (process, terminal):
        shown = read_all(terminal)
        process.wait()
    return shown


def test_terminal_is_one_of_the_containers_and_has_the_callers_size() -> None:
    with running() as container:
        assert show(container, "tty; stty size") == "/dev/pts/0\r\n33 77\r\n"


def test_processes_have_terminals_of_their_own() -> None:
    with running() as container, on_terminal(container, ["sh", "-c", LONG]):
        assert show(container, "tty") == "/dev/pts/1\r\n"


def test_terminal_controls_the_session_and_the_process_is_in_its_foreground() -> None:
    text = "cat /proc/$$/stat; echo $PPID >/dev/tty"

    with running() as container:
        stat, parent = show(container, text).splitlines()

    fields = stat.rpartition(")")[2].split()
    _, above, group, session, controlling, foreground = fields[:6]
    assert (above, session) == (parent, parent)
    assert group == foreground == stat.split()[0]
    assert controlling != "0"


def test_terminal_takes_the_place_of_the_callers_alone() -> None:
    read_end, write_end = os.pipe()
    outer, stdio = os.openpty()
    argv = ["sh", "-c", "readlink /proc/self/fd/0; echo through the pipe >&2"]
    with (
        running() as container,
        container.start_on_terminal(argv, stdio=(stdio, stdio, write_end)) as process,
    ):
        os.close(write_end)
        process.poll()
        shown = read_all(process.terminal_fd)
        process.wait()
    for fd in (outer, stdio):
        os.close(fd)

    assert shown == "/dev/pts/0\r\n"
    with os.fdopen(read_end) as pipe:
        assert pipe.read() == "through the pipe\n"


def test_without_a_terminal_of_the_callers_its_descriptors_stay() -> None:
    with Path(os.devnull).open("r+b") as null, running() as container:
        argv = ["sh", "-c", "echo by name >/dev/tty; echo by number"]
        with container.start_on_terminal(argv, stdio=(null.fileno(),) * 3) as process:
            process.poll()

            assert read_all(process.terminal_fd) == "by name\r\n"
            assert process.wait() == ExitStatus(code=0)


@requires_subordinate_ids
@pytest.mark.parametrize("user", [None, "nobody", "7:8"])
def test_terminal_is_the_users(user: str | None) -> None:
    with running() as container:
        assert show(container, "test -O $(tty) && echo yes", user=user) == "yes\r\n"


@requires_root
def test_terminal_is_the_users_in_the_hosts_user_namespace() -> None:
    with running(ContainerSpec(["sleep", "1000"], userns="host")) as container:
        assert show(container, "test -O $(tty) && echo yes", user="nobody") == "yes\r\n"


@pytest.mark.parametrize("landlock", [False, True])
def test_process_without_a_container_has_a_terminal_of_the_hosts(landlock: bool) -> None:
    spec = ContainerSpec(
        ["sleep", "1000"], isolate=False, rootfs="host", network="host", landlock=landlock
    )

    with running(spec) as container:
        shown = show(container, "tty; readlink /proc/self/ns/pid")

    namespace = re.escape(str(Path("/proc/self/ns/pid").readlink()))
    assert re.fullmatch(rf"/dev/pts/\d+\r\n{namespace}\r\n", shown)


@pytest.mark.parametrize("code", [0, 1, 125, 126, 127, 128, 255])
def test_exit_code_arrives(code: int) -> None:
    with running() as container, on_terminal(container, ["sh", "-c", f"exit {code}"]) as (p, _):
        assert p.wait() == ExitStatus(code=code)


@pytest.mark.parametrize("name", ["HUP", "KILL", "SEGV", "USR1"])
def test_signal_that_ends_it_arrives(name: str) -> None:
    with running() as container, on_terminal(container, ["sh", "-c", f"kill -{name} $$"]) as (p, _):
        assert p.wait() == ExitStatus(signal=signal.Signals[f"SIG{name}"])


def test_what_cannot_be_executed_is_said() -> None:
    with (
        running() as container,
        on_terminal(container, ["nosuch"]) as (process, _),
        pytest.raises(CommandError),
    ):
        process.wait()


def test_user_that_is_not_there_is_said() -> None:
    with (
        running() as container,
        on_terminal(container, ["true"], user="nosuch") as (process, _),
        pytest.raises(SetupError, match="cannot find user 'nosuch'"),
    ):
        process.wait()


def test_keys_reach_the_foreground() -> None:
    with (
        running() as container,
        on_terminal(container, ["sh", "-c", "echo up; sleep 99"]) as (
            process,
            terminal,
        ),
    ):
        read_until(terminal, b"up")
        os.write(terminal, CTRL_C)

        assert process.wait() == ExitStatus(signal=signal.SIGINT)


def test_process_can_be_stopped_and_goes_on() -> None:
    argv = ["sh", "-c", "echo up; read line; echo $line; exit 7"]

    with running() as container, on_terminal(container, argv) as (process, terminal):
        read_until(terminal, b"up")
        os.write(terminal, CTRL_Z)
        news = process.poll(), process.take_stop(), process.take_stop()
        process.send_signal(signal.SIGCONT)
        os.write(terminal, b"word\n")

        assert process.wait() == ExitStatus(code=7)
        assert news == (None, signal.SIGTSTP, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_process_can_be_signalled(number: int) -> None:
    with (
        running() as container,
        on_terminal(container, ["sh", "-c", "echo up; sleep 99"]) as (
            process,
            terminal,
        ),
    ):
        read_until(terminal, b"up")
        process.send_signal(number)

        assert process.wait() == ExitStatus(signal=number)


@pytest.mark.parametrize("text", ["trap '' HUP INT TERM; echo up; sleep 99", LONG])
def test_process_is_killed_when_it_is_let_go_of(text: str) -> None:
    with running() as container:
        with on_terminal(container, ["sh", "-c", text]) as (_, terminal):
            read_until(terminal, b"up")
        assert wait_alone(container)


def wait_alone(container: Container) -> bool:
    """Wait until a container has its command alone; return whether it ever had."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        # The init, the command, and who looks.
        if len(run_script(container, "echo /proc/[0-9]*").text.split()) == 3:
            return True
    return False


def test_what_it_leaves_in_the_foreground_is_hung_up_on() -> None:
    argv = ["sh", "-c", "sleep 1000 & exit 3"]

    with running() as container, on_terminal(container, argv) as (process, _):
        status = process.wait()

        assert status == ExitStatus(code=3)
        assert wait_alone(container)


def test_interactive_shell_does_not_hold_up_the_end_of_the_container() -> None:
    spec = ContainerSpec(["sleep", "1000"], grace=100)

    with (
        running(spec) as container,
        on_terminal(container, ["sh", "-c", LONG]) as (process, terminal),
    ):
        read_until(terminal, b"up")
        container.send_signal(signal.SIGTERM)

        assert process.wait() == ExitStatus(signal=signal.SIGHUP)
        assert container.wait(PATIENCE) == ExitStatus(signal=signal.SIGTERM)


@pytest.mark.parametrize(
    "attack",
    [
        "ls /proc/$PPID/fd",
        "cat /proc/$PPID/environ",
        "cat /proc/$PPID/mem",
        "echo >/proc/$PPID/exe",
    ],
)
def test_process_gets_nothing_of_the_one_that_leads_its_session(attack: str) -> None:
    with running() as container:
        shown = show(container, f"{attack} && echo got it")

    assert "got it" not in shown


def test_process_has_the_rights_of_one_without_a_terminal() -> None:
    pattern = "'^(Cap|NoNewPrivs|Seccomp:|Sig(Blk|Ign|Cgt)|Groups|Umask)'"
    text = f"grep -E {pattern} /proc/self/status; readlink /proc/self/ns/user; echo /proc/self/fd/*"

    with running() as container:
        assert show(container, text).split() == run_script(container, text).text.split()


@pytest.mark.slow
def test_a_hundred_leave_nothing() -> None:
    with running() as container:
        run_script(container, "true")
        before = len(read_descriptors())
        for number in range(100):
            with on_terminal(container, ["true"]) as (process, _):
                if number % 2:
                    process.wait()

        assert wait_alone(container)
        assert len(read_descriptors()) == before
        assert show(container, "tty") == "/dev/pts/0\r\n"
