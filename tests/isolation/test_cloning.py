import os
import resource
import socket
import time
from collections.abc import Iterator
from errno import EINVAL, EPERM
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, SetupError, Tmpfs, Volume
from mocker.isolation.cloner import _INIT, Cloner
from mocker.isolation.container import Container
from mocker.isolation.handshake import receive_with_fds
from mocker.isolation.machine import find_machine
from tests.cloners import NOTHING, be_planner, launch, open_cloner, run
from tests.in_namespaces import run_in_child
from tests.leaks import PATIENCE, read_descriptors
from tests.refusals import Refusal, refuse_system_calls
from tests.requirements import requires_busybox, requires_root, requires_user_namespaces

pytestmark = [requires_busybox, requires_user_namespaces]

OWN = ["0", "1", "2", "3"]  # descriptors of a cloner: /dev/null, and whoever asks


@pytest.fixture
def cloner() -> Iterator[Cloner]:
    with open_cloner(be_planner) as (cloner, _):
        yield cloner


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

    # KB: 1,300 and more without a cloner, 500 where the tape is walked in Python, 130 otherwise.
    assert taken < (1000 if find_machine() != "x86_64" else 300)


def test_cloner_does_without_a_file_in_memory_that_may_not_be_as_long() -> None:
    def act() -> int | None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
        with open_cloner(be_planner) as (cloner, pid):
            code = run(cloner, ["sh", "-c", "exit 7"])
            wait_for_own_descriptors(pid)
            return code

    assert run_in_child(act) == 7


def test_cloner_does_without_a_file_in_memory_that_it_may_not_make() -> None:
    def act() -> int | None:
        refuse_system_calls([Refusal("memfd_create", EPERM)])
        with open_cloner(be_planner) as (cloner, _):
            return run(cloner, ["sh", "-c", "exit 7"])

    assert run_in_child(act) == 7


def wait_for_own_descriptors(cloner: int) -> None:
    """Wait until a cloner has no others; it closes them once it has answered."""
    deadline = time.monotonic() + PATIENCE
    while (kept := sorted(p.name for p in Path(f"/proc/{cloner}/fd").iterdir())) != OWN:
        assert time.monotonic() < deadline, kept


def test_tape_that_is_longer_than_a_message_arrives(cloner: Cloner) -> None:
    words = ["x" * 1000] * 1000

    assert run(cloner, ["sh", "-c", "exit $#", "sh", *words]) == 1000 % 256


def ask_in_vain(cloner: Cloner) -> None:
    """Ask for a clone with a flag that no kernel knows."""
    cloner._ask(0x1_0000_0000_0000, _INIT, [NOTHING] * 5)
    cloner.take()


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
        wait_for_own_descriptors(pid)


def test_cloner_without_room_for_descriptors_refuses_and_goes_on() -> None:
    with open_cloner(be_planner) as (cloner, pid):
        run(cloner, ["true"])
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (7, limits[1]))

        with pytest.raises(SetupError, match="EMFILE"):
            launch(cloner, ["true"])

        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        assert run(cloner, ["true"]) == 0


def test_planner_is_a_clone_too_and_can_ask_for_more(cloner: Cloner) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        applets_ours, applets_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        cloner.ask_for_planner(theirs.fileno(), applets_theirs.fileno())
        pid, pidfd = cloner.take()
        os.close(pidfd)
        for end in (theirs, applets_ours, applets_theirs):
            end.close()
        ours.send(b"hello")

        assert ours.recv(100) == b"hello from a clone"
        assert pid != os.getpid()
    os.waitpid(pid, 0)


def test_init_answers_who_asked(cloner: Cloner) -> None:
    launched = launch(cloner, ["sh", "-c", "exit 5"])
    message, fds = receive_with_fds(launched.control, 100, 1)

    launched.close()
    os.waitpid(launched.pid, 0)
    assert (message, fds) == (b"ready", [])
