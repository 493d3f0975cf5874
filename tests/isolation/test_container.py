import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from errno import ENOSYS, EPERM
from pathlib import Path

import pytest

from mocker.isolation import (
    Container,
    ContainerSpec,
    ExitStatus,
    ForkServer,
    Rlimit,
    SetupError,
    run,
    spawn,
)
from tests.containers import (
    in_container,
    make_spec,
    open_container,
    run_captured,
    script,
    wait_readable,
)
from tests.in_namespaces import run_in_child
from tests.refusals import refuse_user_namespaces
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [requires_busybox, requires_user_namespaces]

LOOP = "while :; do sleep 0.01; done"
SLEEP = ContainerSpec(["sleep", "1000"])
STUBBORN = f"trap '' TERM; echo ready; {LOOP}"


def descend(pid: int) -> Iterator[int]:
    """Yield a process and all below it."""
    yield pid
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in listing.read_text().split():
            yield from descend(int(child))


def test_nothing_in_a_container_survives_its_block() -> None:
    text = "sleep 1000 & (sleep 1000 & sleep 1000) & setsid sleep 1000 & wait"

    with open_container(script(text)) as (container, _):
        while len(pids := list(descend(container.pid))) < 6:  # the init, the shell, four sleeps
            time.sleep(0.01)
        pidfds = [os.pidfd_open(pid) for pid in pids]

    alive = [pidfd for pidfd in pidfds if not wait_readable(pidfd, 5)]
    for pidfd in pidfds:
        os.close(pidfd)
    assert alive == []


def test_container_ends_with_its_block_when_that_fails() -> None:
    with pytest.raises(KeyError), open_container(SLEEP) as (container, _):
        raise KeyError

    assert container.poll() == ExitStatus(signal=signal.SIGKILL)


def test_wait_gives_up_after_its_timeout() -> None:
    with open_container(SLEEP) as (container, _):
        start = time.monotonic()
        with pytest.raises(
            TimeoutError, match=rf"container {container.pid} is still there after 0\.1"
        ):
            container.wait(0.1)

        assert time.monotonic() - start >= 0.1


@pytest.mark.parametrize("timeout", [0, -1])
def test_wait_without_time_does_not_wait(timeout: float) -> None:
    with open_container(SLEEP) as (container, _), pytest.raises(TimeoutError):
        container.wait(timeout)


@pytest.mark.parametrize("timeout", [10.0**7, 10.0**12])
def test_wait_may_take_years(timeout: float) -> None:
    with open_container(script("exit 3")) as (container, _):
        assert container.wait(timeout) == ExitStatus(code=3)


def test_poll_knows_the_end_once_it_is_there() -> None:
    with open_container(script("read x </dev/stdin; exit 3")) as (container, _):
        assert wait_readable(container.fileno(), 10)

        assert container.poll() == ExitStatus(code=3)


def test_poll_of_a_running_container_is_none() -> None:
    with open_container(SLEEP) as (container, _):
        assert container.poll() is None


def test_status_stays_what_it_is() -> None:
    with open_container(script("exit 3")) as (container, _):
        statuses = [container.wait(), container.wait(0), container.poll(), container.stop()]
    statuses += [container.wait(), container.poll(), container.stop()]

    assert statuses == [ExitStatus(code=3)] * 7


def test_end_can_be_waited_for_with_a_descriptor() -> None:
    with open_container(script("exit 0")) as (container, _):
        readable, _, _ = select.select([container], [], [], 10)

        assert readable == [container]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD])
def test_signal_that_cannot_be_handed_on_is_refused(number: int) -> None:
    with open_container(SLEEP) as (container, _):
        with pytest.raises(ValueError, match=rf"signal {int(number)} can't be handed on"):
            container.send_signal(number)

        assert container.poll() is None


def test_kill_ends_everything_at_once() -> None:
    with open_container(script(STUBBORN)) as (container, output):
        output.readline()
        container.kill()

        assert container.wait() == ExitStatus(signal=signal.SIGKILL)


def test_container_whose_init_is_killed_from_outside_was_killed() -> None:
    with open_container(SLEEP) as (container, _):
        os.kill(container.pid, signal.SIGKILL)

        assert container.wait() == ExitStatus(signal=signal.SIGKILL)


@pytest.mark.parametrize("closed", [False, True])
def test_signal_to_what_is_gone_does_nothing(closed: bool) -> None:
    with open_container(script("exit 3")) as (container, _):
        container.wait()
        if closed:
            container.close()

        container.send_signal(signal.SIGTERM)
        container.kill()

        assert container.stop() == ExitStatus(code=3)


def test_container_can_be_closed_twice() -> None:
    with open_container(SLEEP) as (container, _):
        container.close()
        container.close()

    assert container.wait() == ExitStatus(signal=signal.SIGKILL)


def test_stop_sends_the_stop_signal_and_waits() -> None:
    text = f"trap 'echo stopping; exit 5' INT; echo ready; {LOOP}"

    with open_container(script(text, stop_signal=signal.SIGINT)) as (container, output):
        output.readline()
        status = container.stop()

        assert (output.read(), status) == ("stopping\n", ExitStatus(code=5))


@pytest.mark.parametrize(("grace", "argument"), [(0.2, None), (1000, 0.2)])
def test_stop_kills_what_is_left_after_the_grace_period(
    grace: float, argument: float | None
) -> None:
    with open_container(script(STUBBORN, grace=grace)) as (container, output):
        output.readline()
        start = time.monotonic()
        status = container.stop(argument)

        assert time.monotonic() - start >= 0.2
        assert status == ExitStatus(signal=signal.SIGKILL)


def test_stop_of_the_command_by_a_signal_is_told_once() -> None:
    with open_container(script("kill -STOP $$; echo on; exit 3")) as (container, output):
        assert wait_readable(container.control_fd, 10)
        stops = [container.take_stop(), container.take_stop()]
        container.send_signal(signal.SIGCONT)

        assert stops == [signal.SIGSTOP, 0]
        assert (output.readline(), container.wait()) == ("on\n", ExitStatus(code=3))


def test_terminal_stop_signal_stops_the_whole_group() -> None:
    with open_container(script(f"echo ready; {LOOP}")) as (container, output):
        output.readline()
        container.send_signal(signal.SIGTSTP)

        assert wait_readable(container.control_fd, 10)
        assert container.take_stop() == signal.SIGTSTP


def test_limit_that_was_lowered_is_noted() -> None:
    def act() -> tuple[tuple[str, ...], str]:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 4096))
        spec = script("ulimit -Hc", rlimits=[Rlimit("core", 0, 8192)])
        with open_container(spec) as (container, output):
            return container.notes, output.read()

    notes, output = run_in_child(act)

    assert len(notes) == 1
    assert "ulimit core is 0:4096, not 0:8192" in notes[0]
    assert int(output) * 512 == 4096


@pytest.mark.parametrize("text", ["exit 7", "kill -KILL $$"])
def test_caller_that_ignores_sigchld_learns_the_status(text: str) -> None:
    def act() -> str:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        return repr(run(script(text)))

    expected = ExitStatus(code=7) if text == "exit 7" else ExitStatus(signal=signal.SIGKILL)
    assert run_in_child(act) == repr(expected)


def test_caller_that_reaps_everything_itself_learns_the_status() -> None:
    def act() -> str:
        with open_container(script("exit 7")) as (container, _):
            os.waitpid(container.pid, 0)
            return repr(container.wait())

    assert run_in_child(act) == "ExitStatus(code=7)"


def test_caller_that_blocks_and_ignores_signals_does_not_pass_that_on() -> None:
    def act() -> str:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        return run_captured(
            ContainerSpec(["grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"])
        ).stdout

    assert set(run_in_child(act).split()[1::2]) == {"0000000000000000"}


def test_signal_mask_of_the_caller_is_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    run(script("true"))

    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_container_has_a_terminal_of_its_own() -> None:
    with open_container(script("echo /dev/pts/* >/dev/tty", terminal=True)) as (container, _):
        assert wait_readable(container.terminal_fd, 10)

        assert os.read(container.terminal_fd, 1000) == b"/dev/pts/0 /dev/pts/ptmx\r\n"

    assert container.terminal_fd == -1


@in_container
def test_two_containers_live_side_by_side() -> None:
    with (
        open_container(script("hostname; read x", hostname="one")) as (first, one),
        open_container(script("hostname; read x", hostname="two")) as (second, two),
    ):
        assert (one.readline(), two.readline()) == ("one\n", "two\n")
        assert isinstance(first, Container)
        assert first.pid != second.pid


@pytest.mark.parametrize("errno", [ENOSYS, EPERM])
def test_command_without_a_container_needs_no_namespaces(errno: int) -> None:
    # Docker's filter answers clone3 as if there were none.
    spec = ContainerSpec(
        ["sh", "-c", "(exit 4) & wait $!"], rootfs="host", network="host", isolate=False
    )

    def run_under_filter() -> str:
        refuse_user_namespaces(EPERM, errno)
        return str(run(spec))

    assert run_in_child(run_under_filter) == "exit code 4"


def test_command_without_a_container_is_killed_though_its_init_is_stopped() -> None:
    argv = ["sleep", "1000"]
    with spawn(ContainerSpec(argv, rootfs="host", network="host", isolate=False)) as container:
        os.kill(container.pid, signal.SIGSTOP)

        container.kill()
        status = container.wait(10)

    assert status == ExitStatus(signal=signal.SIGKILL)


def receive_notice(container: Container) -> tuple[bytes, int]:
    """Return what the command has notified, and the pid of who did, as the caller sees it."""
    assert wait_readable(container.notify_fd, 10)
    with socket.socket(fileno=os.dup(container.notify_fd)) as notify:
        text, parts, _, _ = notify.recvmsg(1000, socket.CMSG_LEN(12))
    ((_, _, credentials),) = parts
    return text, struct.unpack("3i", credentials)[0]


NOTIFY = """\
import os, socket, sys
address = os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", address)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"network": "host"},
        {"isolate": False, "network": "host"},
        {"isolate": False, "network": "host", "landlock": True},
    ],
)
def test_command_tells_that_it_is_ready_over_its_socket(fields: dict[str, object]) -> None:
    argv = [os.path.realpath(sys.executable), "-c", NOTIFY]
    spec = make_spec(argv=argv, rootfs="host", notify=f"mocker-test-{os.getpid()}", **fields)
    read_end, write_end = os.pipe()

    with spawn(spec, stdin=read_end) as container:
        text, pid = receive_notice(container)
        is_below = pid in descend(container.pid)

    assert container.notify_fd == -1
    for fd in (read_end, write_end):
        os.close(fd)
    assert (text, is_below) == (b"READY=1", True)


def test_command_knows_the_name_of_its_socket_and_of_none_otherwise() -> None:
    texts = [
        run_captured(script("echo $NOTIFY_SOCKET", notify=name)).stdout for name in ("web", None)
    ]

    assert texts == ["@web\n", "\n"]


def test_socket_of_a_name_that_is_taken_is_refused() -> None:
    fields = {"rootfs": "host", "network": "host", "notify": f"mocker-test-{os.getpid()}"}
    message = r"cannot open the socket @mocker-test-\d+ for sd_notify: Address .*\(EADDRINUSE\)"

    with (
        open_container(script("exec sleep 1000", **fields)) as (_, _),
        pytest.raises(SetupError, match=message),
    ):
        spawn(script("true", **fields))


def test_socket_with_a_terminal_arrives_too() -> None:
    with open_container(script("exec sleep 1000", terminal=True, notify="web")) as (container, _):
        assert min(container.terminal_fd, container.notify_fd) >= 0
        assert not os.get_inheritable(container.notify_fd)


@pytest.mark.parametrize("number", [3, 4, 9, 255])
@pytest.mark.parametrize("fields", [{}, {"isolate": False, "rootfs": "host", "network": "host"}])
def test_fourth_descriptor_has_the_number_that_was_asked_for(
    number: int, fields: dict[str, object]
) -> None:
    text = "for fd in /proc/$$/fd/*; do echo ${fd##*/}; done; echo end; exec sleep 1000"
    spec = script(text, ready_fd=number, **fields)
    ready_read, ready_write = os.pipe()
    read_end, write_end = os.pipe()
    with ForkServer() as server:
        server.request(spec, [0, write_end, 2, ready_write])
        with server.receive(spec) as container:
            container.wait_started()
            os.close(write_end)
            os.close(ready_write)
            held = not wait_readable(ready_read, 0)
            with os.fdopen(read_end) as output:
                numbers = {line.strip() for line in iter(output.readline, "end\n")}
        ended = wait_readable(ready_read, 10)
    os.close(ready_read)

    # The shell's own glob has the directory itself open meanwhile.
    assert {"0", "1", "2", str(number)} <= numbers <= {"0", "1", "2", "3", "4", str(number)}
    assert (held, ended) == (True, True)
