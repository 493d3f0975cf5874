import _socket
import os
import resource
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

import pytest
from hypothesis import given

from mocker.isolation import (
    CommandError,
    ContainerSpec,
    ExitStatus,
    ForkServer,
    ForkServerError,
    IsolationError,
    Rlimit,
    SetupError,
    Volume,
)
from mocker.isolation.forkserver import _parse_spec, _render_spec
from tests.containers import open_container, run_captured, script, wait_readable
from tests.in_namespaces import run_in_child
from tests.leaks import read_children
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.specs import specs

pytestmark = [requires_busybox, requires_user_namespaces]

SLEEP = ContainerSpec(["sleep", "1000"])


@pytest.fixture
def server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@contextmanager
def running(target: Callable[[], object]) -> Iterator[None]:
    """Run a function in a thread, and wait for it at the end of the block."""
    thread = threading.Thread(target=target)
    thread.start()
    yield
    thread.join()
    # Python lets go of a thread a little before the kernel does.
    while len(list(Path("/proc/self/task").iterdir())) > 1:
        time.sleep(0.001)


def run_program(text: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program of its own, such as one with threads."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


def values(spec: ContainerSpec) -> dict[str, object]:
    """Return what a spec says, in values that can be compared."""
    found = {name: getattr(spec, name) for name in spec.__slots__}
    for name in ("volumes", "tmpfs", "rlimits"):
        found[name] = [[getattr(part, n) for n in part.__slots__] for part in found[name]]
    return found


@pytest.mark.slow
@given(spec=specs())
def test_spec_arrives_as_it_was_sent(spec: ContainerSpec) -> None:
    assert values(_parse_spec(_render_spec(spec))) == values(spec)


def test_bytes_that_are_no_text_arrive_as_they_were_sent() -> None:
    spec = ContainerSpec(["\udcff"], env={"\udcfe": "\udcfd"}, rootfs="/\udcfc")

    assert values(_parse_spec(_render_spec(spec))) == values(spec)


def test_container_is_like_one_that_was_made_directly(server: ForkServer) -> None:
    text = "cat; echo err >&2; hostname; id -u; exit 7"

    outcome = run_captured(script(text, hostname="inside"), stdin="in\n", spawn=server.spawn)

    assert outcome == (ExitStatus(code=7), "in\ninside\n0\n", "err\n")


def test_container_is_a_child_of_the_program(server: ForkServer) -> None:
    with open_container(SLEEP, spawn=server.spawn) as (container, _):
        assert parent_of(container.pid) == os.getpid()


def test_container_can_be_signalled_and_stopped(server: ForkServer) -> None:
    text = "trap 'echo got' USR1; echo ready; while :; do sleep 0.01; done"

    with open_container(script(text), spawn=server.spawn) as (container, output):
        output.readline()
        container.send_signal(signal.SIGUSR1)
        heard = output.readline()

        assert (heard, container.stop()) == ("got\n", ExitStatus(signal=signal.SIGTERM))


def test_container_has_a_terminal(server: ForkServer) -> None:
    spec = script("echo hello >/dev/tty", terminal=True)

    with open_container(spec, spawn=server.spawn) as (container, _):
        assert os.read(container.terminal_fd, 100) == b"hello\r\n"


def test_program_may_start_many_before_it_waits_for_the_first(server: ForkServer) -> None:
    containers = [server.start(script(f"exit {code}")) for code in range(20)]

    for container in containers:
        container.wait_started()
    codes = [container.wait().code for container in containers]

    for container in containers:
        container.close()
    assert codes == list(range(20))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_thousand_containers_go_through_one_server(server: ForkServer) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    statuses: list[ExitStatus] = []
    for _ in range(50):
        batch = [
            server.start(ContainerSpec(["true"]), stdin=null, stdout=null, stderr=null)
            for _ in range(20)
        ]
        for container in batch:
            with container:
                container.wait_started()
                statuses.append(container.wait())
    os.close(null)

    assert len(statuses) == 1000
    assert {repr(status) for status in statuses} == {"ExitStatus(code=0)"}
    assert read_children() == [str(server.pid)]


def test_server_keeps_no_descriptor_of_any_container(server: ForkServer) -> None:
    listing = Path(f"/proc/{server.pid}/fd")
    run_captured(script("true"), spawn=server.spawn)
    before = sorted(path.readlink() for path in listing.iterdir())

    for _ in range(10):
        run_captured(script("true"), spawn=server.spawn)
        with pytest.raises(IsolationError):
            server.spawn(ContainerSpec(["true"], rootfs="/no/such/root"))

    assert sorted(path.readlink() for path in listing.iterdir()) == before
    assert len(before) == 4  # three for /dev/null, and the socket to the program


def test_server_is_named_and_has_nothing_of_the_programs(server: ForkServer) -> None:
    run_captured(script("true"), spawn=server.spawn)

    targets = {str(path.readlink()) for path in Path(f"/proc/{server.pid}/fd").iterdir()}

    assert Path(f"/proc/{server.pid}/comm").read_text() == "mocker-fork\n"
    assert {target.split(":")[0] for target in targets} == {"/dev/null", "socket"}


def test_descriptors_of_a_container_reach_no_other_program(server: ForkServer) -> None:
    with open_container(SLEEP, spawn=server.spawn) as (container, _):
        fds = (container.fileno(), container.control_fd)

        assert [os.get_inheritable(fd) for fd in fds] == [False, False]


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (ContainerSpec(["nosuch"]), CommandError, "cannot execute 'nosuch'"),
        (ContainerSpec(["true"], user="nosuch"), SetupError, "cannot find user 'nosuch'"),
        (ContainerSpec(["true"], rootfs="/etc/passwd"), SetupError, "it is not a directory"),
        (
            ContainerSpec(["true"], volumes=[Volume("/no/such", "/data")]),
            SetupError,
            r"cannot open the volume source on /no/such: No such file or directory \(ENOENT\)",
        ),
        (
            ContainerSpec(["true"], volumes=[Volume("/usr", "/etc/passwd")]),
            SetupError,
            r"cannot bind /usr on /etc/passwd: Not a directory \(ENOTDIR\)",
        ),
    ],
)
def test_spec_that_is_refused_is_an_error_and_the_server_goes_on(
    server: ForkServer, spec: ContainerSpec, error: type[IsolationError], message: str
) -> None:
    with pytest.raises(error, match=message):
        server.spawn(spec)

    assert run_captured(script("exit 3"), spawn=server.spawn).status == ExitStatus(code=3)


def test_descriptor_that_is_not_open_is_an_error_and_the_server_goes_on(
    server: ForkServer,
) -> None:
    with pytest.raises(SetupError, match=r"cannot hand on descriptor 9999: .*\(EBADF\)"):
        server.spawn(ContainerSpec(["true"]), stdin=9999)

    assert run_captured(script("exit 3"), spawn=server.spawn).status == ExitStatus(code=3)


def test_server_that_has_no_descriptor_left_says_so_and_goes_on(server: ForkServer) -> None:
    run_captured(script("true"), spawn=server.spawn)
    limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (8, limits[1]))

    with pytest.raises(SetupError, match=r"Too many open files \(EMFILE\)"):
        server.spawn(ContainerSpec(["true"]))

    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
    assert run_captured(script("exit 3"), spawn=server.spawn).status == ExitStatus(code=3)


def test_lowered_limit_is_noted() -> None:
    def act() -> tuple[str, ...]:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 10))
        spec = script("true", rlimits=[Rlimit("core", 0, 20)])
        with ForkServer() as server, open_container(spec, spawn=server.spawn) as (container, _):
            return tuple(container.notes)

    notes = run_in_child(act)

    assert len(notes) == 1
    assert "ulimit core is 0:10, not 0:20" in notes[0]


def test_containers_survive_the_end_of_the_server() -> None:
    with ForkServer() as server:
        container = server.spawn(SLEEP)
    with container:
        assert container.poll() is None
        assert container.stop() == ExitStatus(signal=signal.SIGTERM)


def test_containers_survive_a_server_that_is_killed() -> None:
    with ForkServer() as server, open_container(SLEEP, spawn=server.spawn) as (container, _):
        os.kill(server.pid, signal.SIGKILL)
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)

        assert container.poll() is None
        assert container.stop() == ExitStatus(signal=signal.SIGTERM)


def test_server_that_died_is_an_error(server: ForkServer) -> None:
    os.kill(server.pid, signal.SIGKILL)

    with pytest.raises(ForkServerError, match=f"cannot ask fork server {server.pid}: it is gone"):
        server.spawn(SLEEP)
    with pytest.raises(ForkServerError, match="it is gone"):
        server.spawn(SLEEP)


def test_server_that_dies_with_a_request_before_it_is_an_error(server: ForkServer) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    errors: list[IsolationError] = []

    def ask() -> None:
        try:
            server.spawn(SLEEP).close()
        except IsolationError as error:
            errors.append(error)

    with running(ask):
        while not is_unread(server._socket):
            time.sleep(0.001)
        os.kill(server.pid, signal.SIGKILL)

    assert [type(error) for error in errors] == [ForkServerError]


def is_unread(peer: _socket.socket) -> bool:
    """Whether the other end has not read all that was sent."""
    return int.from_bytes(ioctl(peer, termios.TIOCOUTQ, bytes(4)), sys.byteorder) > 0


def test_server_that_was_closed_is_an_error() -> None:
    server = ForkServer()
    server.close()
    server.close()

    with pytest.raises(ForkServerError, match="it is gone"):
        server.spawn(SLEEP)


def test_server_cannot_be_started_after_the_first_thread() -> None:
    done = threading.Event()

    with running(done.wait):
        with pytest.raises(SetupError, match="cannot clone from a process with 2 threads; start"):
            ForkServer()
        done.set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE])
def test_signal_to_the_programs_group_does_not_end_the_server(
    server: ForkServer, number: int
) -> None:
    os.kill(server.pid, number)

    assert run_captured(script("exit 3"), spawn=server.spawn).status == ExitStatus(code=3)


def test_signal_mask_of_the_program_is_as_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    with ForkServer():
        after = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    assert after == before


def test_program_that_ignores_sigchld_has_containers_too() -> None:
    def act() -> str:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with ForkServer() as server:
            return repr(run_captured(script("exit 7"), spawn=server.spawn).status)

    assert run_in_child(act) == "ExitStatus(code=7)"


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_program_may_have_closed_its_standard_descriptors(closed: list[int]) -> None:
    def act() -> str:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in closed:
            os.close(fd)
        with ForkServer() as server:
            spec = script("exit 7")
            with server.spawn(spec, stdin=null, stdout=null, stderr=null) as container:
                return repr(container.wait())

    assert run_in_child(act) == "ExitStatus(code=7)"


PROGRAM = """\
import os, sys, time
from mocker.isolation import ContainerSpec, ForkServer
server = ForkServer()
container = server.spawn(ContainerSpec(["sleep", "1000"]))
print(server.pid, container.pid, flush=True)
"""


@pytest.mark.parametrize("end", ["kill", "exit"])
def test_server_and_containers_end_with_the_program(end: str) -> None:
    text = PROGRAM + ("time.sleep(1000)" if end == "kill" else "sys.stdin.read(); os._exit(0)")
    with subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        pidfds = [os.pidfd_open(int(pid)) for pid in process.stdout.readline().split()]
        if end == "kill":
            process.kill()

    ended = [wait_readable(pidfd, 10) for pidfd in pidfds]

    for pidfd in pidfds:
        os.close(pidfd)
    assert ended == [True, True]


@pytest.mark.slow
def test_program_with_threads_makes_containers_in_all_of_them() -> None:
    result = run_program("""\
from mocker.isolation import ContainerSpec, ForkServer
with ForkServer() as server:
    import threading
    codes = []
    def work(first):
        for code in range(first, first + 5):
            with server.spawn(ContainerSpec(["sh", "-c", f"exit {code}"])) as container:
                codes.append(container.wait().code)
    threads = [threading.Thread(target=work, args=[5 * n]) for n in range(6)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print(sorted(codes) == list(range(30)))
""")

    assert (result.stderr, result.stdout) == ("", "True\n")


@pytest.mark.slow
def test_program_in_an_event_loop_waits_for_containers_without_blocking_it() -> None:
    result = run_program("""\
from mocker.isolation import ContainerSpec, ForkServer
with ForkServer() as server:
    import trio
    async def work(code):
        spec = ContainerSpec(["sh", "-c", f"sleep 0.2; exit {code}"])
        container = await trio.to_thread.run_sync(server.spawn, spec)
        with container:
            await trio.lowlevel.wait_readable(container)
            print(container.poll())
    async def main():
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for code in (3, 3, 3):
                    nursery.start_soon(work, code)
    trio.run(main)
""")

    assert (result.stderr, result.stdout) == ("", "exit code 3\n" * 3)


@pytest.mark.parametrize("room", [0, 1, 2])
def test_container_that_cannot_be_held_for_want_of_descriptors_is_ended(
    server: ForkServer, room: int
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    before = read_children()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + room, hard))
    try:
        with pytest.raises(SetupError, match="EMFILE"):
            server.start(SLEEP)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert read_children() == before
