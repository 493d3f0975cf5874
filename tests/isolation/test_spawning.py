import os
import signal
import time
from contextlib import ExitStack
from errno import EACCES, EPERM
from pathlib import Path

import pytest

from mocker.isolation import (
    CommandError,
    Container,
    ContainerSpec,
    ExitStatus,
    IsolationError,
    Limits,
    SetupError,
    Volume,
    receive_descriptors,
    run,
    spawn,
)
from mocker.isolation.cgroups import Cgroup
from mocker.isolation.delegation import Delegation, _found
from mocker.isolation.forkserver import ForkServer
from mocker.isolation.launch import explain_refusal, launch
from mocker.isolation.plan import make_plan
from mocker.isolation.syscalls import CLONE3
from tests.cgroups import in_own_tree, own_tree, read_cgroup, see_two_versions
from tests.containers import run_captured, script, wait_readable
from tests.in_namespaces import run_in_child
from tests.leaks import PATIENCE, read_children, read_descriptors
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [requires_busybox, requires_user_namespaces]

SLEEP = ContainerSpec(["sleep", "1000"])


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["nosuch"], 127, "cannot execute 'nosuch': .*; it is in no directory of the container's"),
        (["/bin/nosuch"], 127, "cannot execute '/bin/nosuch': No such file"),
        (["/etc/passwd"], 126, "cannot execute '/etc/passwd': Permission denied"),
        (["/etc"], 126, "cannot execute '/etc': Permission denied"),
    ],
)
def test_command_that_cannot_be_executed_is_an_error_of_spawn(
    argv: list[str], code: int, message: str
) -> None:
    with pytest.raises(CommandError, match=message) as info:
        spawn(ContainerSpec(argv))

    assert info.value.exit_code == code


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_descriptor_that_is_not_open_is_refused(name: str) -> None:
    with pytest.raises(SetupError, match=r"hand on descriptor 9999: .*\(EBADF\)"):
        spawn(SLEEP, **{name: 9999})


def test_descriptors_of_the_caller_are_the_commands_own() -> None:
    read_end, write_end = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    text = "for n in 0 1 2; do readlink /proc/self/fd/$n >&2; done"

    run(script(text), stdin=null, stdout=null, stderr=write_end)

    names = os.read(read_end, 1000).decode().split()
    expected = read_descriptors()[str(write_end)]
    for fd in (read_end, write_end, null):
        os.close(fd)
    assert names == ["/dev/null", expected, expected]


def test_run_waits_for_the_end() -> None:
    assert run(script("exit 3")) == ExitStatus(code=3)


def test_run_stops_what_takes_too_long() -> None:
    with pytest.raises(TimeoutError, match=r"still there after 0\.1 s"):
        run(ContainerSpec(["sleep", "1000"]), timeout=0.1)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_hundred_containers_leave_no_descriptor_and_no_child(tmp_path: Path) -> None:
    run(script("true"))
    before = read_descriptors(), read_children()

    for number in range(200):
        run_captured(script("exit 0") if number % 2 else script("sleep 1000 &", grace=0))

    assert (read_descriptors(), read_children()) == before


REFUSED = [
    ContainerSpec(["nosuch"]),
    ContainerSpec(["true"], user="nosuch"),
    ContainerSpec(["true"], volumes=[Volume("/no/such", "/data")]),
    ContainerSpec(["true"], volumes=[Volume("/usr", "/etc/passwd")]),
    ContainerSpec(["true"], rootfs="/etc/passwd"),
    ContainerSpec(["true"], workdir="/etc/passwd/x"),
    ContainerSpec(["nosuch"], terminal=True),
    ContainerSpec(["true"], terminal=True, user="nosuch"),
]


@pytest.mark.slow
@pytest.mark.parametrize("spec", REFUSED)
def test_container_that_is_refused_leaves_no_descriptor_and_no_child(spec: ContainerSpec) -> None:
    before = read_descriptors(), read_children()

    for _ in range(10):
        with pytest.raises(IsolationError):
            spawn(spec)

    assert (read_descriptors(), read_children()) == before


def start_in(cgroup: Cgroup, spec: ContainerSpec, stdout: int = 1) -> Container:
    """Make a container in a cgroup, which `spawn` would look for where limits can be had."""
    container = launch_in(cgroup, spec, stdout)
    container.wait_started()
    return container


def launch_in(cgroup: Cgroup, spec: ContainerSpec, stdout: int = 1) -> Container:
    """Do the same, and return while its init is still at work."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        launched = launch(make_plan(spec), (null, stdout, null), cgroup=cgroup.fd)
    finally:
        os.close(null)
    return Container(spec, launched, cgroup)


def request_in(cgroup: Cgroup, spec: ContainerSpec, server: ForkServer) -> Container:
    """Do the same by a fork server."""
    server.request(spec, [1, 1, 1], cgroup=cgroup)
    return server.receive(spec, cgroup)


def limited(text: str, **fields: object) -> ContainerSpec:
    return script(text, limits=Limits(), **fields)


def read_all(cgroup: Cgroup, spec: ContainerSpec) -> str:
    """Return what a container in a cgroup prints."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as output:
        with start_in(cgroup, spec, write_end) as container:
            os.close(write_end)
            container.wait()
        return output.read()


@in_own_tree
@pytest.mark.parametrize(
    "fields",
    [{}, {"rootfs": "host"}, {"network": "host"}, {"userns": "host"}],
    ids=["plain", "host", "network", "root"],
)
def test_container_is_born_in_its_cgroup_and_sees_no_other(fields: dict[str, object]) -> None:
    text = "cat /proc/self/cgroup; cd /sys/fs/cgroup && ls -d cgroup.procs */; echo 0 >cgroup.procs"
    with own_tree() as tree:
        cgroup = Delegation(str(tree), ()).make_cgroup(Limits())

        lines = read_all(cgroup, limited(f"({text}) 2>&1", **fields)).splitlines()

    assert "0::/" in lines
    assert "cgroup.procs" in lines
    assert "Read-only file system" in lines[-1]
    assert all("No such file" in line for line in lines if "*/" in line)


@in_own_tree
@pytest.mark.parametrize("by_server", [False, True])
def test_init_does_nothing_before_it_is_in_its_cgroup(by_server: bool) -> None:
    spec = ContainerSpec(["true"], limits=Limits())
    with own_tree() as tree, ForkServer() as server:
        cgroup = Delegation(str(tree), ()).make_cgroup(Limits())
        cgroup.freeze()
        with (
            request_in(cgroup, spec, server) if by_server else launch_in(cgroup, spec) as container
        ):
            number = read_system_call(container.pid)
            cgroup.thaw()
            status = container.wait()

    assert number == CLONE3  # from which it has not returned
    assert status.success


def read_system_call(pid: int) -> int:
    """Wait until a process runs no more, and return the number of what it is in: proc(5)."""
    deadline = time.monotonic() + PATIENCE
    while (text := Path(f"/proc/{pid}/syscall").read_text()).startswith("running"):
        assert time.monotonic() < deadline
    return int(text.split()[0])


@in_own_tree
@pytest.mark.parametrize("isolate", [True, False])
def test_all_of_a_container_is_in_its_cgroup_and_nobody_else(isolate: bool) -> None:
    fields = {} if isolate else {"isolate": False, "rootfs": "host", "network": "host"}
    with own_tree() as tree:
        cgroup = Delegation(str(tree), ()).make_cgroup(Limits())
        read_end, write_end = os.pipe()
        spec = limited("sleep 1000 & setsid sleep 1000 & echo; wait", **fields)
        with start_in(cgroup, spec, write_end) as container:
            os.read(read_end, 1)

            pids = Path(cgroup.path, "cgroup.procs").read_text().split()

            assert len(pids) == 4
            assert pids[0] == str(container.pid)
        for fd in (read_end, write_end):
            os.close(fd)

        assert not Path(cgroup.path).exists()


@in_own_tree
def test_what_escapes_a_command_without_a_container_is_ended_with_its_cgroup() -> None:
    with own_tree() as tree:
        cgroup = Delegation(str(tree), ()).make_cgroup(Limits())
        read_end, write_end = os.pipe()
        spec = limited(
            "sleep 1000 & echo $!; wait", isolate=False, rootfs="host", network="host", grace=0
        )
        with start_in(cgroup, spec, write_end) as container:
            pidfd = os.pidfd_open(int(os.read(read_end, 100)))
            os.kill(container.pid, signal.SIGKILL)  # it can't end what is left

            container.wait()

            assert wait_readable(pidfd, 5)
        for fd in (read_end, write_end, pidfd):
            os.close(fd)


@in_own_tree
@pytest.mark.parametrize("isolate", [True, False])
def test_kill_ends_what_is_frozen(isolate: bool) -> None:
    fields = {} if isolate else {"isolate": False, "rootfs": "host", "network": "host"}
    with own_tree() as tree:
        cgroup = Delegation(str(tree), ()).make_cgroup(Limits())
        with start_in(cgroup, limited("sleep 1000", **fields)) as container:
            cgroup.freeze()

            container.kill()

            assert container.wait(5) == ExitStatus(signal=signal.SIGKILL)


@in_own_tree
def test_container_tells_what_it_has_used_when_it_is_gone() -> None:
    with own_tree() as tree:
        cgroup = Delegation(str(tree), ()).make_cgroup(Limits())
        with start_in(cgroup, limited("n=0; while test $n -lt 99999; do n=$((n+1)); done")) as made:
            made.wait()

            assert made.cgroup is cgroup
            assert cgroup.read_usage().cpu_s > 0


@in_own_tree
def test_process_beside_the_command_is_in_its_cgroup() -> None:
    with own_tree() as tree:
        cgroup = Delegation(str(tree), ()).make_cgroup(Limits())
        with start_in(cgroup, limited("sleep 1000")) as container:
            read_end, write_end = os.pipe()
            words = ["sh", "-c", "echo; exec sleep 1000"]
            with container.start_process(words, stdio=(0, write_end, 2)):
                os.read(read_end, 1)

                pids = Path(cgroup.path, "cgroup.procs").read_text().split()

                assert len(pids) == 3
            os.close(read_end)
            os.close(write_end)


@in_own_tree
def test_container_of_a_shared_network_is_born_in_its_own_cgroup() -> None:
    with own_tree() as tree, ForkServer() as server:
        delegation = Delegation(str(tree), ())
        null = os.open(os.devnull, os.O_RDWR)
        stdio, spec = (
            [null] * 3,
            ContainerSpec(["sleep", "1000"], network="shared", limits=Limits()),
        )
        with server.spawn(SLEEP, stdin=null, stdout=null, stderr=null) as first:
            with first.request_namespaces() as reply:
                fds = receive_descriptors(reply)
            cgroup = delegation.make_cgroup(Limits())
            server.request(spec, stdio, fds, cgroup)
            with server.receive(spec, cgroup) as second:
                second.wait_started()
                os.waitpid(second.helper, 0)

                assert read_cgroup(second.pid).endswith(Path(cgroup.path).name)
        for fd in (null, *fds):
            os.close(fd)


@in_own_tree
def test_init_holds_no_descriptor_of_its_cgroup() -> None:
    with own_tree() as tree, ForkServer() as server:
        delegation = Delegation(str(tree), ())
        null = os.open(os.devnull, os.O_RDWR)
        spec = ContainerSpec(["sleep", "1000"], limits=Limits())
        cgroup = delegation.make_cgroup(Limits())
        server.request(spec, [null] * 3, cgroup=cgroup)
        with (
            server.receive(spec, cgroup) as container,
            start_in(delegation.make_cgroup(Limits()), spec) as other,
        ):
            container.wait_started()
            open_files = [
                str(fd.readlink())
                for one in (container, other)
                if one.cgroup is not None
                for pid in Path(one.cgroup.path, "cgroup.procs").read_text().split()
                for fd in Path(f"/proc/{pid}/fd").iterdir()
            ]
        os.close(null)

    assert open_files
    assert not [name for name in open_files if "cgroup" in name]


@in_own_tree
def test_container_that_is_refused_leaves_no_cgroup() -> None:
    spec = ContainerSpec(["nosuch"], limits=Limits())
    with own_tree() as tree:
        cgroup = Delegation(str(tree), ()).make_cgroup(Limits())

        with pytest.raises(CommandError):
            start_in(cgroup, spec).close()

        assert not Path(cgroup.path).exists()


@in_own_tree
def test_cgroup_that_is_gone_is_no_reason_to_start_without() -> None:
    with own_tree() as tree:
        cgroup = Delegation(str(tree), ()).make_cgroup(Limits())
        Path(cgroup.path).rmdir()

        with pytest.raises(SetupError, match=r"clone into the container's cgroup: .*was removed"):
            start_in(cgroup, limited("true"))

        cgroup.remove()


@in_own_tree
def test_cgroup_goes_with_limits_and_with_nothing_else() -> None:
    with own_tree() as tree, ForkServer() as server:
        cgroup = Delegation(str(tree), ()).make_cgroup(Limits())

        with pytest.raises(SetupError, match="a spec with limits goes with a cgroup"):
            server.request(SLEEP, [0, 1, 2], cgroup=cgroup)
        with pytest.raises(SetupError, match="a spec with limits goes with a cgroup"):
            server.request(limited("true"), [0, 1, 2])

        cgroup.remove()


def test_other_refusals_to_clone_are_about_namespaces() -> None:
    denied, forbidden = (SetupError("create namespaces", errno) for errno in (EACCES, EPERM))

    assert explain_refusal(forbidden, limited("true")) is forbidden
    assert explain_refusal(denied, SLEEP) is denied
    assert "the delegated cgroup, too" in str(explain_refusal(denied, limited("true")))


@pytest.mark.parametrize("server", [False, True])
def test_limit_on_a_host_with_two_versions_is_refused_and_told(server: bool) -> None:
    spec = ContainerSpec(["true"], limits=Limits(memory=2**25))

    def act() -> None:
        _found.clear()  # looked for once in a process
        see_two_versions()
        before = read_descriptors(), read_children()

        with (
            ExitStack() as stack,
            pytest.raises(SetupError, match=r"cannot limit a container; .*\(hybrid\); boot with "),
        ):
            (stack.enter_context(ForkServer()).spawn if server else spawn)(spec)

        assert (read_descriptors(), read_children()) == before

    run_in_child(act)
