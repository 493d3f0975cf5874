"""Who is at the other end."""

import os

import pytest
import trio

from mocker.supervisor.control.peers import Peer, find_peer


async def test_process_at_the_other_end_is_found() -> None:
    ours, theirs = trio.socket.socketpair()

    with ours, theirs:
        peer = find_peer(ours)

    assert peer == Peer(os.getpid(), os.geteuid(), os.getegid())


@pytest.mark.parametrize(
    ("uid", "may"), [(0, True), (os.geteuid(), True), (12345, False), (2**32 - 2, False)]
)
def test_owner_and_root_may_do_all(uid: int, may: bool) -> None:
    assert Peer(1, uid, uid).may_do_all is may
