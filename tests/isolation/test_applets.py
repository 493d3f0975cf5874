import _socket
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, ForkServer, Volume, applets, receive_descriptors
from mocker.isolation.applets import AppletTrees, render_stamp
from mocker.isolation.busybox import Busybox, find_busybox
from mocker.isolation.handshake import send_with_fds
from mocker.isolation.user_mapping import UserMapping, plan_user_mapping
from tests.containers import in_container, make_rootfs, run_captured, script
from tests.end_to_end.processes import wait_until
from tests.leaks import read_descriptors
from tests.requirements import requires_busybox, requires_root, requires_user

SHARED = "grep -q '^overlay /bin ' /proc/mounts && echo shared || echo linked\n"


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[_socket.socket, AppletTrees]]:
    """Who hands out trees, and who takes them."""
    monkeypatch.setattr(applets, "_PATIENCE_MS", 300)
    ours, theirs = (
        _socket.socket(fileno=end.detach())
        for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    )
    yield ours, AppletTrees(theirs)
    ours.close()
    theirs.close()


@pytest.fixture
def busybox() -> Busybox:
    return find_busybox()


@pytest.fixture
def mapping() -> UserMapping:
    return plan_user_mapping()


def hand_out(peer: _socket.socket, stamp: bytes) -> None:
    """Hand out a tree, which is a descriptor like any other here."""
    fd = os.open("/", os.O_PATH)
    try:
        send_with_fds(peer, stamp, [fd])
    finally:
        os.close(fd)


@requires_busybox
def test_tree_is_taken_if_it_is_of_the_same_busybox_and_the_same_owner(
    pair: tuple[_socket.socket, AppletTrees], busybox: Busybox, mapping: UserMapping
) -> None:
    peer, trees = pair
    path, device, inode, changed_ns, size = busybox.stamp
    changed = Busybox((path, device, inode, changed_ns + 1, size), busybox.applets)
    hand_out(peer, render_stamp(busybox, mapping))

    found = [trees.fetch_for(changed, mapping), trees.fetch_for(busybox, mapping)]
    tree = trees.take()

    os.close(tree)
    assert (found, tree >= 0) == ([False, True], True)


@requires_busybox
def test_there_is_no_tree_once_nobody_hands_out_any(
    pair: tuple[_socket.socket, AppletTrees], busybox: Busybox, mapping: UserMapping
) -> None:
    peer, trees = pair
    hand_out(peer, render_stamp(busybox, mapping))
    peer.close()

    found = [trees.fetch_for(busybox, mapping)]
    os.close(trees.take())
    found += [trees.fetch_for(busybox, mapping) for _ in range(2)]

    assert found == [True, False, False]


@requires_busybox
def test_who_hands_out_nothing_is_waited_for_once(
    pair: tuple[_socket.socket, AppletTrees],
    busybox: Busybox,
    mapping: UserMapping,
) -> None:
    peer, trees = pair
    times = list[float]()

    for _ in range(3):
        begin = time.monotonic()
        assert not trees.fetch_for(busybox, mapping)
        times.append(time.monotonic() - begin)
    hand_out(peer, render_stamp(busybox, mapping))

    assert trees.fetch_for(busybox, mapping)  # what comes late is as good
    os.close(trees.take())
    assert times[0] >= 0.3 > sum(times[1:])


@requires_busybox
def test_tree_that_has_no_room_is_none_and_the_next_one_is(
    pair: tuple[_socket.socket, AppletTrees], busybox: Busybox, mapping: UserMapping
) -> None:
    peer, trees = pair
    peer.send(render_stamp(busybox, mapping))  # as it comes where its descriptor was dropped
    hand_out(peer, render_stamp(busybox, mapping))

    found = [trees.fetch_for(busybox, mapping) for _ in range(2)]

    os.close(trees.take())
    assert found == [False, True]


@in_container
def test_containers_of_a_fork_server_share_a_tree_and_one_alone_has_links() -> None:
    text = SHARED + "cd /bin; stat -c %u sh; ls; find . ! -samefile busybox -type f"

    with ForkServer() as server:
        shared = run_captured(script(text), spawn=server.spawn).stdout.split()
    linked = run_captured(script(text)).stdout.split()

    assert (shared[0], linked[0]) == ("shared", "linked")
    assert shared[1:] == linked[1:]
    assert shared[1] == "0"


@in_container
def test_what_a_container_does_to_its_applets_no_other_sees() -> None:
    text = """\
    set -e
    rm /bin/ls /usr/bin/vi && mv /bin/cat /bin/dog && echo '#!/bin/sh' >/bin/mine
    chmod 700 /bin && mv /bin/busybox /tmp/busybox && echo junk >/bin/busybox
    /tmp/busybox ls -l /bin/dog /bin/mine | /tmp/busybox wc -l
    """
    look = SHARED + "stat -c %a /bin; ls /bin | wc -l; ls /bin/mine /bin/dog; busybox echo ok"

    with ForkServer() as server:
        before = run_captured(script(look), spawn=server.spawn)
        changed = run_captured(script(text), spawn=server.spawn)
        after = run_captured(script(look), spawn=server.spawn)

    assert (changed.stdout, changed.stderr) == ("2\n", "")
    assert before.stdout.startswith("shared\n755\n")
    assert (after.stdout, after.stderr) == (before.stdout, before.stderr)


@in_container
def test_what_lies_below_the_applets_is_out_of_reach() -> None:
    with ForkServer() as server:
        outcome = run_captured(script("cut -d ' ' -f 2 /proc/mounts"), spawn=server.spawn)

    mounted = outcome.stdout.split()
    assert "/bin" in mounted
    assert not {"/proc/lower", "/proc/upper", "/proc/work"} & set(mounted)


@in_container
def test_shared_applets_can_be_read_only_and_mounted_over(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho tool\n")
    tool.chmod(0o755)
    volumes = [Volume(str(tool), "/usr/bin/tool")]
    text = SHARED + "tool; touch /bin/new; stat -c %U /bin"

    with ForkServer() as server:
        outcomes = [
            run_captured(script(text, volumes=volumes, read_only=each), spawn=server.spawn)
            for each in (False, True)
        ]

    assert [outcome.stdout for outcome in outcomes] == ["shared\ntool\nroot\n"] * 2
    assert [outcome.stderr for outcome in outcomes] == [
        "",
        "touch: /bin/new: Read-only file system\n",
    ]


@in_container
def test_other_root_has_nothing_of_it(tmp_path: Path) -> None:
    rootfs = str(make_rootfs(tmp_path))

    with ForkServer() as server:
        outcome = run_captured(
            script("grep -c ' /bin ' /proc/mounts", rootfs=rootfs), spawn=server.spawn
        )

    assert outcome.stdout == "0\n"


@in_container
def test_container_that_shares_a_network_has_links() -> None:
    with ForkServer() as server, server.spawn(ContainerSpec(["sleep", "60"])) as first:
        with first.request_namespaces() as reply:
            namespaces = receive_descriptors(reply)
        files = [os.memfd_create("stdout"), os.open(os.devnull, os.O_RDWR)]
        server.request(script(SHARED, network="shared"), [files[1], *files], namespaces)
        with server.receive(script(SHARED, network="shared")) as container:
            container.wait_started()
            status = container.wait()
            os.waitpid(container.helper, 0)
        said = os.pread(files[0], 100, 0)
        for fd in (*files, *namespaces):
            os.close(fd)
        first.kill()
        first.wait()

    assert (status.code, said) == (0, b"linked\n")


@requires_root
@in_container
def test_container_without_a_user_namespace_has_links_that_are_its_owners() -> None:
    text = SHARED + "stat -c %u /bin/sh"

    with ForkServer() as server:
        outcome = run_captured(script(text, userns="host"), spawn=server.spawn)

    assert outcome.stdout == "linked\n0\n"


@requires_user
@in_container
def test_busybox_that_was_changed_is_linked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path(shutil.copy(find_busybox().path, tmp_path / "busybox"))
    tmp_path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with ForkServer() as server:
        said = [run_captured(script(SHARED), spawn=server.spawn).stdout]
        os.utime(own, (0, 0))
        said += [run_captured(script(SHARED), spawn=server.spawn).stdout for _ in range(2)]

    assert said == ["shared\n", "linked\n", "linked\n"]


@in_container
def test_containers_are_made_without_the_server_too() -> None:
    with ForkServer() as server:
        said = [run_captured(script(SHARED), spawn=server.spawn).stdout]
        os.kill(server.applets_pid, signal.SIGKILL)
        os.waitpid(server.applets_pid, 0)
        # Those that it had made in advance are as good as before.
        assert wait_until(
            lambda: run_captured(script(SHARED), spawn=server.spawn).stdout == "linked\n"
        )

    assert said == ["shared\n"]


@in_container
def test_server_that_hangs_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applets, "_PATIENCE_MS", 50)
    before = read_descriptors()

    with ForkServer() as server:
        os.kill(server.applets_pid, signal.SIGSTOP)
        assert wait_until(
            lambda: run_captured(script(SHARED), spawn=server.spawn).stdout == "linked\n"
        )
        os.kill(server.applets_pid, signal.SIGCONT)
        assert wait_until(
            lambda: run_captured(script(SHARED), spawn=server.spawn).stdout == "shared\n"
        )

    assert read_descriptors() == before


@in_container
def test_two_planners_take_from_one_server() -> None:
    with ForkServer() as server:
        second = server.open_planner()
        said = [
            run_captured(script(SHARED), spawn=planner.spawn).stdout
            for _ in range(20)
            for planner in (server, second)
        ]

    assert said == ["shared\n"] * 40


@in_container
def test_tree_and_a_descriptor_to_be_ready_by_do_not_mix() -> None:
    read_end, write_end = os.pipe()
    files = [os.open(os.devnull, os.O_RDWR), os.memfd_create("stdout"), os.memfd_create("stderr")]
    spec = script(SHARED + "echo ready >&9; ls /proc/self/fd | wc -l", ready_fd=9)

    with ForkServer() as server:
        server.request(spec, [*files, write_end])
        with server.receive(spec) as container:
            container.wait_started()
            status = container.wait()
    os.close(write_end)
    ready, said, errors = os.read(read_end, 100), *(os.pread(fd, 100, 0) for fd in files[1:])
    for fd in (read_end, *files):
        os.close(fd)

    # The standard descriptors, that one, and the directory.
    assert (status.code, ready, said, errors) == (0, b"ready\n", b"shared\n5\n", b"")


@in_container
def test_command_has_no_descriptor_of_the_tree() -> None:
    with ForkServer() as server:
        outcome = run_captured(script(SHARED + "ls /proc/self/fd"), spawn=server.spawn)

    assert outcome.stdout.split() == ["shared", "0", "1", "2", "3"]
