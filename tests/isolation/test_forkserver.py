import _socket
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from errno import EAGAIN, ENOSYS, EPERM
from fcntl import ioctl
from pathlib import Path

import pytest

from mocker.isolation import (
    CommandError,
    Container,
    ContainerSpec,
    ExitStatus,
    ForkServer,
    ForkServerError,
    IsolationError,
    Rlimit,
    SetupError,
    Tmpfs,
    Volume,
    receive_descriptors,
)
from mocker.isolation.process_calls import join_session_keyring
from mocker.isolation.syscalls import CLONE_NEWNS, MS_REC, MS_SLAVE, mount, unshare
from mocker.isolation.tape import perform
from tests.containers import open_container, run_captured, script, wait_readable
from tests.in_namespaces import run_in_child
from tests.leaks import PATIENCE, read_children, read_descriptors
from tests.refusals import Refusal, refuse_system_calls
from tests.requirements import requires_busybox, requires_root, requires_user_namespaces

pytestmark = [requires_busybox, requires_user_namespaces]

SLEEP = ContainerSpec(["sleep", "1000"])


@pytest.fixture
def server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


@requires_root
def test_root_with_a_session_keyring_has_as_many_containers_as_without() -> None:
    most = int(Path("/proc/sys/kernel/keys/maxkeys").read_text())  # of anybody else

    def count_started() -> int:
        perform(join_session_keyring())
        with ForkServer() as server, ExitStack() as containers:
            for _ in range(most + 1):
                containers.enter_context(server.spawn(SLEEP))
            return len(read_children())

    assert run_in_child(count_started) > most


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@contextmanager
def running(target: Callable[[], object]) -> Iterator[None]:
    """Run a function in a thread, and wait for it at the end of the block."""
    thread = threading.Thread(target=target)
    thread.start()
    yield
    thread.join()


def run_program(text: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program of its own, such as one with threads."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


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
    assert read_children() == sorted(map(str, (*server.pids, server.applets_pid)))


def test_server_keeps_no_descriptor_of_any_container(server: ForkServer) -> None:
    run_captured(script("true"), spawn=server.spawn)

    for _ in range(10):
        run_captured(script("true"), spawn=server.spawn)
        with pytest.raises(IsolationError):
            server.spawn(ContainerSpec(["true"], rootfs="/no/such/root"))

    # /dev/null three times, the program, the cloner, its pidfd, both ends of its answers, and where
    # trees with applets come from.
    deadline = time.monotonic() + PATIENCE  # it closes what it was handed once it has answered
    while (kept := len(os.listdir(f"/proc/{server.pid}/fd"))) != 9:  # noqa: PTH208
        assert time.monotonic() < deadline, kept


def test_server_is_named_and_has_nothing_of_the_programs(server: ForkServer) -> None:
    run_captured(script("true"), spawn=server.spawn)

    targets = {str(path.readlink()) for path in Path(f"/proc/{server.pid}/fd").iterdir()}

    assert Path(f"/proc/{server.pid}/comm").read_text() == "mocker-fork\n"
    assert {target.split(":")[0] for target in targets} == {"/dev/null", "socket", "anon_inode"}


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
            r"cannot open the volume source /no/such: No such file or directory \(ENOENT\)",
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
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (12, limits[1]))

    with pytest.raises(SetupError, match=r"Too many open files \(EMFILE\)"):
        server.spawn(ContainerSpec(["true"]))

    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
    assert run_captured(script("exit 3"), spawn=server.spawn).status == ExitStatus(code=3)


def test_what_is_done_meanwhile_is_done_once_and_may_start_threads() -> None:
    done = list[str]()

    def act() -> None:
        thread = threading.Thread(target=done.append, args=["done"])
        thread.start()
        thread.join()

    with ForkServer(meanwhile=act) as server:
        outcome = run_captured(script("echo made"), spawn=server.spawn)

    assert (done, outcome.stdout) == (["done"], "made\n")


def test_server_leaves_nothing_where_what_is_done_meanwhile_fails() -> None:
    children, descriptors = read_children(), read_descriptors()

    def act() -> None:
        raise ImportError("no such module")

    with pytest.raises(ImportError):
        ForkServer(meanwhile=act)

    assert (read_children(), read_descriptors().keys()) == (children, descriptors.keys())


def test_server_ends_at_once_though_a_fork_of_the_program_has_its_descriptors() -> None:
    with ForkServer() as server:
        run_captured(script("true"), spawn=server.spawn)
        fork = os.fork()
        if fork == 0:
            signal.pause()
            os._exit(0)
        begin = time.monotonic()
        server.close()
        duration = time.monotonic() - begin
    os.kill(fork, signal.SIGKILL)
    os.waitpid(fork, 0)

    assert duration < 0.8  # a process that does not end is killed after a second


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


NAMESPACES = ("user", "net", "mnt", "pid", "uts", "ipc", "cgroup")


@contextmanager
def namespaces_of(container: Container) -> Iterator[list[int]]:
    with container.request_namespaces() as reply:
        fds = receive_descriptors(reply)
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


@contextmanager
def sharing(
    server: ForkServer, spec: ContainerSpec, namespaces: Sequence[int], stdout: int = 1
) -> Iterator[Container]:
    """Make a container that shares another's network, as a program with an event loop does."""
    server.request(spec, [0, stdout, 2], namespaces)
    container = server.receive(spec)
    with container:
        container.wait_started()
        yield container
    os.waitid(os.P_PID, container.helper, os.WEXITED)


def read_namespaces(container: Container) -> list[str]:
    """Return the namespaces of a container's command, whose own user namespace is one below."""
    output = os.memfd_create("output")
    text = "; ".join(f"readlink /proc/self/ns/{name}" for name in NAMESPACES[1:])
    with container.start_process(["sh", "-c", text], stdio=(0, output, 2)) as process:
        process.wait()
    found = os.pread(output, 1000, 0).decode().split()
    os.close(output)
    with namespaces_of(container) as (user, _):
        return [str(Path(f"/proc/self/fd/{user}").readlink()), *found]


def test_container_may_share_the_network_of_another_and_no_more(server: ForkServer) -> None:
    with (
        open_container(SLEEP, spawn=server.spawn) as (first, _),
        namespaces_of(first) as namespaces,
        sharing(server, ContainerSpec(["sleep", "1000"], network="shared"), namespaces) as second,
    ):
        pairs = zip(NAMESPACES, read_namespaces(first), read_namespaces(second), strict=True)
        shared = [name for name, one, other in pairs if one == other]

    assert shared == ["user", "net"]


def test_shared_network_is_one_in_which_they_reach_each_other(server: ForkServer) -> None:
    with (
        open_container(SLEEP, spawn=server.spawn) as (first, _),
        namespaces_of(first) as namespaces,
        sharing(server, ContainerSpec(["sleep", "1000"], network="shared"), namespaces) as second,
    ):
        with first.request_socket(_socket.AF_INET) as reply:
            listener = socket.socket(fileno=receive_descriptors(reply)[0])
        with second.request_socket(_socket.AF_INET) as reply:
            client = socket.socket(fileno=receive_descriptors(reply)[0])
        with listener, client:
            listener.bind(("127.0.0.1", 80))
            listener.listen()
            client.connect(("127.0.0.1", 80))


def test_shared_network_outlives_who_brought_it(server: ForkServer) -> None:
    output = os.memfd_create("output")
    spec = script("cat /proc/net/dev; exit 7", network="shared")
    with (
        open_container(SLEEP, spawn=server.spawn) as (first, _),
        namespaces_of(first) as namespaces,
    ):
        first.close()
        with sharing(server, spec, namespaces, stdout=output) as second:
            status = second.wait()
    text = os.pread(output, 1000, 0).decode()
    os.close(output)

    assert status == ExitStatus(code=7)
    assert " lo:" in text


def test_root_of_a_shared_network_owns_what_root_of_the_other_does(server: ForkServer) -> None:
    with (
        open_container(SLEEP, spawn=server.spawn) as (first, _),
        namespaces_of(first) as namespaces,
        sharing(server, ContainerSpec(["sleep", "1000"], network="shared"), namespaces) as second,
    ):
        maps = [Path(f"/proc/{c.pid}/uid_map").read_text() for c in (first, second)]
        owners = [Path(f"/proc/{c.pid}").stat().st_uid for c in (first, second)]

    assert maps[0] == maps[1]
    assert owners[0] == owners[1]


@pytest.mark.parametrize(
    ("fields", "stdio", "namespaces", "message"),
    [
        ({"network": "shared"}, [0, 1, 2], [], "cannot share a network; .* takes the two"),
        ({"network": "shared"}, [0, 1, 2], [0], "cannot share a network; .* takes the two"),
        ({}, [0, 1, 2], [0, 1], "cannot share a network; the spec's is 'none', not 'shared'"),
        ({}, [0, 1], [], "cannot hand on 2 descriptors; without a ready descriptor it takes 3"),
        ({}, [0, 1, 2, 2], [], "cannot hand on 4 descriptors; without a ready descriptor it"),
        ({"ready_fd": 3}, [0, 1, 2], [], "cannot hand on 3 descriptors; with a ready descr"),
    ],
)
def test_request_with_the_wrong_descriptors_is_refused_and_the_server_goes_on(
    server: ForkServer,
    fields: dict[str, object],
    stdio: list[int],
    namespaces: list[int],
    message: str,
) -> None:
    with pytest.raises(SetupError, match=message):
        server.request(script("true", **fields), stdio, namespaces)

    assert run_captured(script("exit 3"), spawn=server.spawn).status == ExitStatus(code=3)


def test_what_are_no_namespaces_cannot_be_joined(server: ForkServer) -> None:
    spec = ContainerSpec(["true"], network="shared")
    before = set(read_children())

    server.request(spec, [0, 1, 2], [0, 1])
    message = r"cannot join the namespaces of another container: .*\(EINVAL\)"
    with pytest.raises(SetupError, match=message):
        server.receive(spec)

    for pid in set(read_children()) - before:
        os.waitpid(int(pid), 0)
    assert run_captured(script("exit 3"), spawn=server.spawn).status == ExitStatus(code=3)


def test_answers_can_be_waited_for_with_a_descriptor(server: ForkServer) -> None:
    specs = [script(f"exit {code}") for code in (3, 4)]
    for spec in specs:
        server.request(spec, [0, 1, 2])

    codes = []
    for spec in specs:
        assert wait_readable(server.fileno(), 10)
        with server.receive(spec) as container:
            container.wait_started()
            codes.append(container.wait().code)

    assert codes == [3, 4]


def test_commands_in_the_same_kind_of_container_each_get_their_own(server: ForkServer) -> None:
    text = 'echo "$1" $A $HOSTNAME; hostname; cat /etc/hostname; grep -c "$HOSTNAME" /etc/hosts'
    specs = [
        script(text, word, env=env, hostname=name)
        for word in ("one", "two")
        for env in ({"A": "1"}, {"A": "2"}, {})
        for name in ("first", "second")
    ]

    outputs = [run_captured(spec, spawn=server.spawn).stdout for spec in specs]

    assert outputs == [
        f"{spec.argv[-1]} {spec.env.get('A', '')} {spec.hostname}\n".replace("  ", " ")
        + f"{spec.hostname}\n{spec.hostname}\n1\n"
        for spec in specs
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"read_only": True}, {}),
        ({"tmpfs": [Tmpfs("/mnt")]}, {}),
        ({"workdir": "/srv"}, {"workdir": "/var"}),
        ({"rlimits": [Rlimit("nofile", 77)]}, {"rlimits": [Rlimit("nofile", 78)]}),
        ({"notify": "a"}, {"notify": "b"}),
    ],
)
def test_other_kinds_of_containers_are_told_apart(
    server: ForkServer, one: dict[str, object], other: dict[str, object]
) -> None:
    text = "pwd; ulimit -n; echo $NOTIFY_SOCKET; touch /x; grep -c tmpfs /proc/mounts"

    outputs = [
        run_captured(script(text, **fields), spawn=server.spawn)[1:] for fields in (one, other, one)
    ]

    assert outputs[0] == outputs[2] != outputs[1]


@pytest.mark.slow
@requires_root
def test_changes_of_the_host_are_seen_within_a_second(tmp_path: Path) -> None:
    busybox = shutil.which("busybox") or ""
    copy, grants = tmp_path / "busybox", tmp_path / "subuid"
    shutil.copy(busybox, copy)
    grants.write_text("somebody:100000:65536\n")
    text = "tail -c 4 /bin/busybox | grep -q new! && echo new; exec sleep 1000"

    def look(server: ForkServer) -> tuple[bool, str]:
        with open_container(script(text), spawn=server.spawn) as (container, output):
            new = wait_readable(output.fileno(), 0.2)
            return new, Path(f"/proc/{container.pid}/uid_map").read_text().split()[1]

    def act() -> tuple[tuple[bool, str], tuple[bool, str]]:
        unshare(CLONE_NEWNS)
        mount("none", "/", "", MS_REC | MS_SLAVE)
        for source, target in ((copy, busybox), (grants, "/etc/subuid")):
            subprocess.run(["mount", "--bind", source, target], check=True)
        with ForkServer() as server:
            before = after = look(server)
            with grants.open("a") as file:
                file.write(f"another:{before[1]}:65536\n")
            with copy.open("ab") as file:
                file.write(b"new!")
            deadline = time.monotonic() + PATIENCE
            while not after[0] or after[1] == before[1]:
                assert time.monotonic() < deadline
                after = look(server)
            return before, after

    before, after = run_in_child(act)

    assert (before[0], after[0]) == (False, True)
    assert before[1] != after[1]


def test_server_that_hangs_is_killed() -> None:
    server = ForkServer()
    os.kill(server.pid, signal.SIGSTOP)

    server.close()

    assert not Path(f"/proc/{server.pid}").exists()


TRACED = """\
import os, sys
from mocker.isolation import ContainerSpec, ForkServer, spawn

with ForkServer() as server:
    make = {"spawn": spawn, "server": server.spawn}[sys.argv[1]]
    with make(ContainerSpec(["sleep", "1000"])) as container:
        for _ in range(2):
            with container.start_process(["sh", "-c", "exit 7"]) as process:
                print(process.wait().code)
    print(os.getpid(), *server.pids, container.pid)
"""


@pytest.mark.parametrize("maker", ["spawn", "server"])
def test_functions_of_python_are_told_to_perf_and_to_nobody_else(maker: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", TRACED, maker],
        env={**os.environ, "PYTHONPERFSUPPORT": "1"},  # heard from Python 3.12 on
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
    )

    *codes, pids = result.stdout.splitlines()
    for pid in pids.split():
        Path(f"/tmp/perf-{pid}.map").unlink(missing_ok=True)
    assert (codes, result.stderr) == (["7", "7"], "")


@pytest.mark.parametrize("errno", [ENOSYS, EPERM])
def test_server_does_with_a_plain_clone_where_clone3_is_refused(errno: int) -> None:
    plain = ContainerSpec(["sh", "-c", "exit 5"], rootfs="host", network="host", isolate=False)

    def act() -> tuple[int | None, str]:
        # Docker's filter answers clone3 as if there were none.
        refuse_system_calls([Refusal("clone3", errno)])
        with ForkServer() as server:
            with server.spawn(plain) as container:
                code = container.wait().code
            try:
                server.spawn(ContainerSpec(["true"], rootfs="/"))
            except SetupError as error:
                return code, error.step
        return code, ""

    assert run_in_child(act) == (5, "create namespaces")


class Word(StrEnum):
    """A word that is not of str itself."""

    TRUE = "true"
    NAME = "A"
    HOST = "web"


def test_words_of_a_subclass_of_str_are_taken_as_their_text(server: ForkServer) -> None:
    spec = ContainerSpec(["sh", "-c", "hostname; echo $A"], env={Word.NAME: Word.TRUE})
    spec = ContainerSpec(spec.argv, env=spec.env, hostname=Word.HOST, rootfs="busybox")

    assert run_captured(spec, spawn=server.spawn).stdout == "web\ntrue\n"


def test_spec_that_cannot_be_sent_harms_nobody(server: ForkServer) -> None:
    odd = ContainerSpec(["true"])
    odd.workdir = Path("/")  # type: ignore[assignment]

    with pytest.raises(ValueError, match="unmarshallable"):
        server.spawn(odd)

    assert run_captured(script("exit 3"), spawn=server.spawn).status == ExitStatus(code=3)


def test_server_that_cannot_be_forked_is_an_error_and_leaves_nothing() -> None:
    def act() -> tuple[str, set[int], bool]:
        before = read_descriptors()
        refuse_system_calls([Refusal("clone", EAGAIN)])
        try:
            ForkServer()
        except SetupError as error:
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
            return str(error), set(blocked), read_descriptors() == before
        return "", set(), False

    message, blocked, clean = run_in_child(act)

    assert message.startswith("cannot start the fork server: Resource temporarily unavailable")
    assert (blocked, clean) == (set(), True)


def test_closing_twice_ends_no_process_of_somebody_else() -> None:
    with ForkServer() as server:
        planner = server.open_planner()
        planner.close()

        planner.close()
    server.close()

    assert read_children() == []


def test_planner_that_is_dropped_leaves_nothing_but_a_child_to_reap() -> None:
    with ForkServer() as server:
        descriptors, pids = read_descriptors().keys(), server.list_pids()
        planner = server.open_planner()

        server.drop(planner)
        status = os.waitstatus_to_exitcode(os.waitpid(planner.pid, 0)[1])

        assert status == -signal.SIGKILL
        assert (read_descriptors().keys(), server.list_pids()) == (descriptors, pids)


def test_memory_that_is_taken_below_2_gib_is_had_elsewhere() -> None:
    text = f"""
import ctypes, mmap
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_long
libc.mmap.argtypes = [ctypes.c_long] * 6
assert libc.mmap({0x7000_0000}, 4096, 3, {0x22 | 0x10_0000}, -1, 0) == {0x7000_0000}
from mocker.isolation import ContainerSpec, ForkServer, spawn
spec = ContainerSpec(["sh", "-c", "ls /bin/cat && exit 4"])
with spawn(spec) as container:
    print(container.wait().code, flush=True)
with ForkServer() as server, server.spawn(spec) as container:
    print(container.wait().code)
"""

    result = run_program(text)

    assert (result.stdout, result.stderr) == ("/bin/cat\n4\n/bin/cat\n4\n", "")


def test_command_of_megabytes_is_refused_with_a_sentence_of_kilobytes(server: ForkServer) -> None:
    with pytest.raises(CommandError, match="E2BIG") as info:
        server.spawn(ContainerSpec(["x" * 5_000_000]))

    assert len(str(info.value)) < 100_000
    assert run_captured(script("exit 3"), spawn=server.spawn).status == ExitStatus(code=3)


def test_program_without_standard_descriptors_keeps_the_servers_to_itself() -> None:
    text = """
import os
from mocker.isolation import ContainerSpec, ForkServer
null = os.open("/dev/null", os.O_RDWR)
os.dup2(null, 100)
os.closerange(0, 50)
with ForkServer() as server:
    with server.spawn(ContainerSpec(["true"]), stdin=100, stdout=100, stderr=100) as container:
        container.wait()
        found = [fd for fd in (0, 1, 2) if os.path.lexists(f"/proc/self/fd/{fd}")]
os.dup2(100, 0)
os.dup2(100, 1)
os.dup2(100, 2)
os._exit(len(found))
"""

    assert run_program(text).returncode == 0
