import _socket
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mocker.isolation.applet_server import run_applet_server
from mocker.isolation.applets import AppletTrees
from mocker.isolation.busybox import find_busybox
from mocker.isolation.user_mapping import plan_user_mapping
from tests.containers import in_container
from tests.end_to_end.processes import wait_until
from tests.requirements import requires_root


@contextmanager
def open_server() -> Iterator[tuple[_socket.socket, int]]:
    """Fork a server; yield where it hands out trees, and its pid."""
    ours, theirs = (
        _socket.socket(fileno=end.detach())
        for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    )
    pid = os.fork()
    if pid == 0:
        run_applet_server(theirs)
    theirs.close()
    yield ours, pid
    ours.close()
    assert os.waitpid(pid, 0) == (pid, 0)


def take(peer: _socket.socket) -> int:
    trees = AppletTrees(peer)
    assert trees.has_for(find_busybox(), plan_user_mapping())
    return trees.take()


@in_container
def test_tree_has_busybox_and_a_link_for_each_applet_and_belongs_to_root_inside() -> None:
    busybox, mapping = find_busybox(), plan_user_mapping()

    with open_server() as (peer, _):
        tree = take(peer)
        place = Path(f"/proc/self/fd/{tree}")
        names = [entry.name for entry in place.iterdir()]
        content = (place / "busybox").read_bytes()
        targets = {os.readlink(name, dir_fd=tree) for name in busybox.applets}
        stats = [place.stat(), *((place / name).lstat() for name in ("busybox", "sh"))]
        os.close(tree)

    assert set(names) == {"busybox", *busybox.applets}
    assert content == Path(busybox.path).read_bytes()
    assert targets == {"busybox"}
    owner = (mapping.root_uid, mapping.root_gid)
    assert [(stat.st_uid, stat.st_gid) for stat in stats] == [owner] * 3
    assert [stat.st_mode & 0o777 for stat in stats] == [0o755, 0o755, 0o777]


@in_container
def test_trees_are_made_as_they_are_taken() -> None:
    with open_server() as (peer, pid):
        trees = [take(peer) for _ in range(50)]
        waiting = wait_until(lambda: read_state(pid) == "S")
        inodes = {Path(f"/proc/self/fd/{tree}/sh").stat().st_ino for tree in trees}
        for tree in trees:
            os.close(tree)

    assert waiting
    assert len(set(trees)) == 50
    assert len(inodes) == 1


@in_container
def test_server_keeps_nothing_of_the_host_busy() -> None:
    with open_server() as (peer, pid):
        os.close(take(peer))
        mounts = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
        name = Path(f"/proc/{pid}/comm").read_text()
        fds = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]

    assert [line.split()[4] for line in mounts] == ["/"]
    assert name == "mocker-applets\n"
    assert sum(target.startswith("socket:") for target in fds) == 1


@in_container
def test_mask_for_new_files_does_not_count() -> None:
    before = os.umask(0o077)
    try:
        with open_server() as (peer, _):
            tree = take(peer)
            mode = Path(f"/proc/self/fd/{tree}").stat().st_mode & 0o777
            os.close(tree)
    finally:
        os.umask(before)

    assert mode == 0o755


@in_container
def test_server_whose_program_is_killed_ends() -> None:
    read_end, write_end = os.pipe()
    program = os.fork()
    if program == 0:
        with open_server() as (_, pid):
            os.write(write_end, b"%d" % pid)
            signal.pause()
    os.close(write_end)
    pid = int(os.read(read_end, 100))

    os.kill(program, signal.SIGKILL)
    os.waitpid(program, 0)

    os.close(read_end)
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists())


@in_container
def test_server_that_cannot_make_the_tree_says_so_by_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mocker.isolation.applet_server.find_busybox", lambda: 1 / 0)

    with open_server() as (peer, _):
        found = AppletTrees(peer).has_for(find_busybox(), plan_user_mapping())

    assert not found


@requires_root
@in_container
def test_host_has_no_mount_more() -> None:
    before = Path("/proc/self/mountinfo").read_text()

    with open_server() as (peer, _):
        os.close(take(peer))
        during = Path("/proc/self/mountinfo").read_text()

    assert during == before


def read_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
