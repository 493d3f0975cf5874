"""Who is at the other end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from mocker.supervisor.control.listening import open_listener
from mocker.supervisor.control.peers import Peer, Remote, find_peer, find_remote
from tests.requirements import requires_root


def start(program: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)


async def test_process_at_the_other_end_is_found() -> None:
    ours, theirs = trio.socket.socketpair()

    with ours, theirs:
        peer = find_peer(ours)

    assert peer == Peer(os.getpid(), os.geteuid(), os.getegid(), frozenset(os.getgroups()))


async def test_address_at_the_other_end_is_found() -> None:
    with trio.socket.socket() as listener, trio.socket.socket() as client:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        await client.connect(listener.getsockname())
        accepted, _ = await listener.accept()

    with accepted:
        assert find_remote(accepted) == Remote("127.0.0.1")


@requires_root
@pytest.mark.parametrize("count", [200, 257, 5000])
async def test_all_groups_of_a_process_are_found(tmp_path: Path, count: int) -> None:
    groups = range(4000, 4000 + count)
    client = (
        f"import os, socket; os.setgroups({groups}); s = socket.socket(socket.AF_UNIX); "
        f"s.connect({str(tmp_path / 'x.sock')!r}); os.read(0, 1)"
    )

    with open_listener(str(tmp_path / "x.sock")) as listener:
        process = start(client)
        accepted, _ = await listener.accept()
        with accepted:
            peer = find_peer(accepted)
        process.communicate(b"x")

    assert (peer.pid, peer.groups) == (process.pid, frozenset(groups))


@pytest.mark.parametrize(
    ("uid", "may"), [(0, True), (os.geteuid(), True), (12345, False), (2**32 - 2, False)]
)
def test_owner_and_root_may_do_all(uid: int, may: bool) -> None:
    assert Peer(1, uid, uid).may_do_all is may
