import socket
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.trio_transport import TrioTransport


async def test_supervisor_that_does_not_answer_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NoSupervisorError, match="cannot connect"):
        await TrioTransport().find(str(tmp_path / "none.sock"))


async def test_what_comes_is_waited_for_while_others_go_on() -> None:
    ours, theirs = socket.socketpair()

    async def send() -> None:
        await wait_all_tasks_blocked()
        theirs.send(b"x")

    with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)

            assert await TrioTransport().wait_readable(ours.fileno())


async def test_what_comes_too_late_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not await TrioTransport().wait_readable(ours.fileno(), 0.01)


async def test_room_is_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await TrioTransport().wait_writable(ours.fileno())

        assert ours.send(b"x") == 1


async def test_who_waits_for_what_is_closed_is_told() -> None:
    ours, theirs = socket.socketpair()
    transport = TrioTransport()

    async def wait() -> None:
        with pytest.raises(NoSupervisorError, match="the client is closed"):
            await transport.wait_readable(ours.fileno())

    with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            transport.forget(ours.fileno())
