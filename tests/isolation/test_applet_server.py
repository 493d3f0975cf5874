import _socket
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mocker.isolation import SetupError
from mocker.isolation.applet_server import run_applet_server
from mocker.isolation.applets import AppletTrees
from mocker.isolation.busybox import Busybox, find_busybox
from mocker.isolation.syscalls import CLONE_NEWNS, MS_REC, mount, unshare
from mocker.isolation.user_mapping import plan_user_mapping
from tests.containers import in_container
from tests.end_to_end.processes import wait_until
from tests.in_namespaces import run_in_child
from tests.requirements import requires_root

MS_PRIVATE, MS_SHARED = 2**18, 2**20


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
    try:
        yield ours, pid
    finally:
        ours.close()
        _, status = os.waitpid(pid, 0)
    assert status == 0


def take(peer: _socket.socket) -> int:
    trees = AppletTrees(peer)
    assert trees.fetch_for(find_busybox(), plan_user_mapping())
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
def test_one_tree_is_on_its_way_and_no_more() -> None:
    with open_server() as (peer, _):
        os.close(take(peer))

        assert wait_until(lambda: count_on_their_way(peer) == 1)
        assert not wait_until(lambda: count_on_their_way(peer) != 1, patience=0.1)


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
        try:
            with open_server() as (_, pid):
                os.write(write_end, b"%d" % pid)
                signal.pause()
        finally:
            os._exit(1)
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
    def find_nothing() -> Busybox:
        raise SetupError("find a static busybox")

    monkeypatch.setattr("mocker.isolation.applet_server.find_busybox", find_nothing)

    with open_server() as (peer, _):
        found = AppletTrees(peer).fetch_for(find_busybox(), plan_user_mapping())

    assert not found


@requires_root
@in_container
def test_host_that_shares_its_mounts_gets_none_of_it() -> None:
    def act() -> tuple[str, str]:
        unshare(CLONE_NEWNS)
        mount("none", "/", "", MS_REC | MS_PRIVATE)
        mount("none", "/", "", MS_REC | MS_SHARED)
        before = Path("/proc/self/mountinfo").read_text()
        with open_server() as (peer, _):
            os.close(take(peer))
            return before, Path("/proc/self/mountinfo").read_text()

    before, during = run_in_child(act)

    assert during == before


def read_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def count_on_their_way(peer: _socket.socket) -> int:
    """Return how many descriptors wait in a socket for who takes them."""
    lines = Path(f"/proc/self/fdinfo/{peer.fileno()}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("scm_fds:"))
