import _socket
import os
import shutil
import signal
import socket
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
def pair() -> Iterator[tuple[_socket.socket, AppletTrees]]:
    """Who hands out trees, and who takes them."""
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
    changed = Busybox((busybox.path, busybox.stamp[1] + 1, busybox.stamp[2]), busybox.applets)
    hand_out(peer, render_stamp(busybox, mapping))

    found = [trees.has_for(changed, mapping), trees.has_for(busybox, mapping)]
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

    found = [trees.has_for(busybox, mapping)]
    os.close(trees.take())
    found += [trees.has_for(busybox, mapping) for _ in range(2)]

    assert found == [True, False, False]


@requires_busybox
def test_who_hands_out_nothing_is_waited_for_once(
    pair: tuple[_socket.socket, AppletTrees],
    busybox: Busybox,
    mapping: UserMapping,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer, trees = pair
    monkeypatch.setattr(applets, "_PATIENCE_MS", 50)

    found = [trees.has_for(busybox, mapping)]
    with pytest.raises(BrokenPipeError):  # what comes too late, nobody takes
        hand_out(peer, render_stamp(busybox, mapping))
    found.append(trees.has_for(busybox, mapping))

    assert found == [False, False]


@requires_busybox
def test_tree_that_has_no_room_is_none(
    pair: tuple[_socket.socket, AppletTrees], busybox: Busybox, mapping: UserMapping
) -> None:
    peer, trees = pair
    peer.send(render_stamp(busybox, mapping))  # as it comes where its descriptor was dropped

    assert not trees.has_for(busybox, mapping)


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
    text = "grep -c lower= /proc/mounts; ls -d /proc/lower /proc/upper /proc/work"

    with ForkServer() as server:
        outcome = run_captured(script(text), spawn=server.spawn)

    assert outcome.stdout == "0\n"
    assert outcome.stderr.count("No such file or directory") == 3


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
def test_other_roots_have_nothing_of_it(tmp_path: Path) -> None:
    rootfs = str(make_rootfs(tmp_path))

    with ForkServer() as server:
        outcomes = [
            run_captured(script("grep -c ' /bin ' /proc/mounts", rootfs=each), spawn=server.spawn)
            for each in (rootfs, "host")
        ]

    assert outcomes[0].stdout == "0\n"
    assert outcomes[1].status.code in {0, 1}  # the host's own may be a mount


@in_container
def test_network_that_is_shared_makes_no_difference() -> None:
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
def test_server_that_hangs_delays_one_container() -> None:
    before = read_descriptors()

    with ForkServer() as server:
        os.kill(server.applets_pid, signal.SIGSTOP)
        assert wait_until(
            lambda: run_captured(script(SHARED), spawn=server.spawn).stdout == "linked\n"
        )
        os.kill(server.applets_pid, signal.SIGCONT)
        outcome = run_captured(script(SHARED), spawn=server.spawn)

    assert outcome.stdout == "linked\n"
    assert read_descriptors() == before
