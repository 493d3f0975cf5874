import _socket
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EINVAL
from pathlib import Path

import pytest

from mocker.isolation import CommandError, ContainerSpec, ForkServerError, SetupError, Tmpfs, Volume
from mocker.isolation.cloner import _INIT, Cloner, run_cloner
from mocker.isolation.container import Container
from mocker.isolation.handshake import receive_with_fds
from mocker.isolation.launch import Launch
from mocker.isolation.plan import make_plan
from mocker.isolation.transport import render_spec
from tests.leaks import PATIENCE, read_descriptors
from tests.requirements import requires_busybox, requires_root, requires_user_namespaces

pytestmark = [requires_busybox, requires_user_namespaces]

OWN = ["0", "1", "2", "3"]  # descriptors of a cloner: /dev/null, and whoever asks
NOTHING = os.open(os.devnull, os.O_RDWR)  # for all of the tests


def be_planner(peer: _socket.socket, cloner: Cloner) -> None:
    """Answer each message with itself, and say which cloner there is."""
    while message := peer.recv(100):
        peer.send(message + b" from a clone")
    os._exit(0)


@contextmanager
def open_cloner(
    run_planner: Callable[[_socket.socket, Cloner], None],
) -> Iterator[tuple[Cloner, int]]:
    """Fork a cloner; yield it and its pid."""
    requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        run_cloner(theirs.fileno(), run_planner)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    theirs.close()
    cloner = Cloner(requests, os.pidfd_open(pid))
    try:
        yield cloner, pid
    finally:
        cloner.close()
        os.waitpid(pid, 0)


@pytest.fixture
def cloner() -> Iterator[Cloner]:
    with open_cloner(be_planner) as (cloner, _):
        yield cloner


def launch(cloner: Cloner, argv: list[str], **fields: object) -> Launch:
    spec = ContainerSpec(argv, **fields)  # type: ignore[arg-type]
    return cloner.launch(make_plan(spec), render_spec(spec), [NOTHING] * 3)


def run(cloner: Cloner, argv: list[str], **fields: object) -> int | None:
    """Return the exit code of a container that the cloner makes."""
    launched = launch(cloner, argv, **fields)
    spec = ContainerSpec(argv, **fields)  # type: ignore[arg-type]
    with Container(spec, launched) as container:
        container.wait_started()
        return container.wait().code


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"user": "nobody", "workdir": "/tmp"},
        {"tmpfs": [Tmpfs("/data/deep")], "volumes": [Volume("/usr", "/host", read_only=True)]},
        pytest.param({"rootfs": "/", "read_only": True}, marks=requires_root),
        {"rootfs": "host", "network": "host"},
        {"notify": "some-name", "hostname": "other"},
    ],
    ids=["plain", "user", "mounts", "directory", "host", "notify"],
)
def test_container_of_any_kind_is_cloned(cloner: Cloner, fields: dict[str, object]) -> None:
    assert run(cloner, ["sh", "-c", "exit 7"], **fields) == 7


@requires_root  # nobody else may look
def test_container_shares_most_of_its_memory(cloner: Cloner) -> None:
    def private_kb(pid: int) -> int:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))

    launched = [launch(cloner, ["sleep", "1000"], hostname=f"job-{i}") for i in range(3)]
    containers = [Container(ContainerSpec(["sleep"]), each) for each in launched]
    for container in containers:
        container.wait_started()
    taken = private_kb(containers[1].pid)
    for container in containers:
        container.kill()
        container.wait()
        container.close()

    assert taken < 1000  # 1,300 and more without a cloner, 500 here


def test_tape_that_is_longer_than_a_message_arrives(cloner: Cloner) -> None:
    words = ["x" * 1000] * 1000

    assert run(cloner, ["sh", "-c", "exit $#", "sh", *words]) == 1000 % 256


def test_command_that_takes_too_much_memory_is_refused(cloner: Cloner) -> None:
    with pytest.raises(CommandError, match="E2BIG"):
        run(cloner, ["true", "x" * 2**23])

    assert run(cloner, ["true"]) == 0


def ask_in_vain(cloner: Cloner) -> None:
    """Ask for a clone with a flag that no kernel knows."""
    cloner._ask(0x1_0000_0000_0000, _INIT, [NOTHING] * 5)
    cloner._take()


def test_clone_that_the_kernel_refuses_is_an_error_and_the_cloner_goes_on(cloner: Cloner) -> None:
    with pytest.raises(SetupError, match="cannot create namespaces") as info:
        ask_in_vain(cloner)

    assert info.value.errno == EINVAL
    assert run(cloner, ["true"]) == 0


def test_cloner_keeps_no_descriptor() -> None:
    with open_cloner(be_planner) as (cloner, pid):
        run(cloner, ["true"])
        before = read_descriptors()

        for _ in range(5):
            run(cloner, ["true"])
            with pytest.raises(SetupError):
                ask_in_vain(cloner)

        assert read_descriptors() == before
        deadline = time.monotonic() + PATIENCE  # it closes them once it has answered
        while (kept := sorted(path.name for path in Path(f"/proc/{pid}/fd").iterdir())) != OWN:
            assert time.monotonic() < deadline, kept


def test_cloner_without_room_for_descriptors_refuses_and_goes_on() -> None:
    with open_cloner(be_planner) as (cloner, pid):
        run(cloner, ["true"])
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (7, limits[1]))

        with pytest.raises(SetupError, match="EMFILE"):
            launch(cloner, ["true"])

        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        assert run(cloner, ["true"]) == 0


def test_cloner_that_is_gone_is_an_error() -> None:
    with open_cloner(be_planner) as (cloner, pid):
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        with pytest.raises(ForkServerError, match="cannot ask the cloner: it is gone"):
            launch(cloner, ["true"])


def test_cloner_that_dies_on_the_way_is_an_error() -> None:
    with open_cloner(be_planner) as (cloner, pid):
        os.kill(pid, signal.SIGSTOP)
        killer = os.fork()
        if killer == 0:
            time.sleep(0.05)  # for the request to be on its way
            os.kill(pid, signal.SIGKILL)
            os._exit(0)

        with pytest.raises(ForkServerError, match="it is gone"):
            launch(cloner, ["true"])
        os.waitpid(killer, 0)


def test_planner_is_a_clone_too_and_can_ask_for_more(cloner: Cloner) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        pid, pidfd = cloner.start_planner(theirs.fileno())
        os.close(pidfd)
        theirs.close()
        ours.send(b"hello")

        assert ours.recv(100) == b"hello from a clone"
        assert pid != os.getpid()
    os.waitpid(pid, 0)


def test_requests_of_two_askers_do_not_mix(cloner: Cloner) -> None:
    requests = _socket.socket(fileno=os.dup(cloner.requests.fileno()))
    other = Cloner(requests, os.dup(cloner.pidfd))

    codes = [run(each, ["sh", "-c", f"exit {n}"]) for n in range(4) for each in (cloner, other)]

    other.close()
    assert codes == [0, 0, 1, 1, 2, 2, 3, 3]


def test_init_answers_who_asked(cloner: Cloner) -> None:
    launched = launch(cloner, ["sh", "-c", "exit 5"])
    message, fds = receive_with_fds(launched.control, 100, 1)

    launched.close()
    os.waitpid(launched.pid, 0)
    assert (message, fds) == (b"ready", [])


def test_cloner_that_dies_while_it_clones_is_an_error(cloner: Cloner) -> None:
    with open_cloner(be_planner) as (mortal, pid):
        ours, theirs = socket.socketpair()
        os.kill(pid, signal.SIGSTOP)
        mortal._ask(0, _INIT, [theirs.fileno()] * 5)
        keeper = os.fork()  # as a clone that has all of the cloner's descriptors open
        if keeper == 0:
            ours.recv(1)
            os._exit(0)
        os.kill(pid, signal.SIGKILL)

        with pytest.raises(ForkServerError, match="it is gone"):
            mortal._take()

        ours.close()
        theirs.close()
        os.kill(keeper, signal.SIGKILL)
        os.waitpid(keeper, 0)
