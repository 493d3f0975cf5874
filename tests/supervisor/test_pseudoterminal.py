"""The terminal of a job; here the test is the job, and who is attached."""

import os
import socket
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.pseudoterminal import Pseudoterminal
from tests.leaks import PATIENCE, read_descriptors


@attrs.frozen
class World:
    """A terminal.

    Attributes:
        terminal: What is tested.
        slave: The job's side, closed by `end`.
        log: The read end of its log.
        over: Set when it is.
    """

    terminal: Pseudoterminal
    slave: int
    log: int
    over: trio.Event

    async def end(self) -> bytes:
        """Let nobody have the job's side any more; return what is in the log."""
        os.close(self.slave)
        with trio.fail_after(PATIENCE):
            await self.over.wait()
        return os.read(self.log, 2**16)


@asynccontextmanager
async def opened() -> AsyncIterator[World]:
    master, slave = os.openpty()
    read_end, write_end = os.pipe()
    world = World(Pseudoterminal(master, write_end, "web"), slave, read_end, trio.Event())

    async def run() -> None:
        await world.terminal.run()
        world.over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        yield world
        nursery.cancel_scope.cancel()
    os.close(read_end)


@contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield both ends, of which the first has room for a few kilobytes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**12)
        yield ours, theirs


async def take(end: socket.socket, size: int) -> bytes:
    """Return so many bytes of what is shown."""
    shown = b""
    with trio.fail_after(PATIENCE):
        while len(shown) < size:
            await trio.lowlevel.wait_readable(end)
            shown += end.recv(size - len(shown))
    return shown


async def test_viewer_gets_the_bytes_and_the_log_lines() -> None:
    with connection() as (ours, theirs):
        async with opened() as world:
            world.terminal.attach(ours)
            os.write(world.slave, b"one\ntwo\r\n50%\r")
            shown = await take(theirs, 15)
            os.write(world.slave, b"\nend\r")
            shown += await take(theirs, 6)
            logged = await world.end()

    assert shown == b"one\r\ntwo\r\r\n50%\r\r\nend\r"
    assert logged == b"one\ntwo\n50%\nend\r"


async def test_each_viewer_gets_what_is_printed_while_attached() -> None:
    with connection() as (ours, theirs), connection() as (our_other, their_other):
        async with opened() as world:
            first = world.terminal.attach(ours)
            os.write(world.slave, b"a")
            shown = await take(theirs, 1)
            world.terminal.attach(our_other)
            os.write(world.slave, b"b")
            other = await take(their_other, 1)
            world.terminal.detach(first)
            os.write(world.slave, b"c")
            other += await take(their_other, 1)
            await world.end()

            assert (shown + theirs.recv(10), other) == (b"ab", b"bc")


async def test_viewer_that_takes_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mocker.supervisor.pseudoterminal.STALL_S", 0.05)
    data = b"x" * 1000
    with connection() as (ours, _theirs), connection() as (our_other, their_other):
        async with opened() as world:
            stalled, other = world.terminal.attach(ours), world.terminal.attach(our_other)
            shown = b""
            for _ in range(20):
                os.write(world.slave, data)
                shown += await take(their_other, len(data))
            facts = (stalled.stalled, stalled.over.is_set(), other.over.is_set())
            logged = await world.end()

    assert facts == (True, True, False)
    assert shown == logged == data * 20


async def test_viewer_that_leaves_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mocker.supervisor.pseudoterminal.STALL_S", 1000.0)
    with connection() as (ours, _theirs), connection() as (our_other, their_other):
        async with opened() as world:
            viewer = world.terminal.attach(ours)
            world.terminal.attach(our_other)
            with suppress(BlockingIOError):
                while True:
                    ours.send(b"x" * 1000)
            os.write(world.slave, b"end")
            await wait_all_tasks_blocked()
            world.terminal.detach(viewer)
            ours.close()

            assert await take(their_other, 3) == b"end"
            assert not viewer.stalled
            await world.end()


async def test_viewer_that_is_gone_harms_nobody() -> None:
    with connection() as (ours, theirs):
        async with opened() as world:
            viewer = world.terminal.attach(ours)
            theirs.close()
            os.write(world.slave, b"one\n")
            with trio.fail_after(PATIENCE):
                await viewer.over.wait()

            assert not viewer.stalled
            assert await world.end() == b"one\n"


async def test_what_is_typed_arrives() -> None:
    async with opened() as world:
        await world.terminal.type(b"hello\n")

        assert os.read(world.slave, 100) == b"hello\n"
        await world.end()


async def test_all_that_is_typed_arrives_though_there_is_no_room_at_first() -> None:
    data = b"x" * 200_000
    async with opened() as world:
        tty.setraw(world.slave)
        os.set_blocking(world.slave, False)
        found = b""
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.terminal.type, data[:100_000])
                nursery.start_soon(world.terminal.type, data[100_000:])
                while len(found) < len(data):
                    await trio.lowlevel.wait_readable(world.slave)
                    found += os.read(world.slave, 2**16)
        os.set_blocking(world.slave, True)
        await world.end()

    assert found == data


async def test_size_is_seen_by_the_job() -> None:
    async with opened() as world:
        world.terminal.resize(30, 100)

        assert termios.tcgetwinsize(world.slave) == (30, 100)
        await world.end()


async def test_terminal_that_is_gone_takes_everything_and_does_nothing() -> None:
    with connection() as (ours, _):
        async with opened() as world:
            await world.end()
            await world.terminal.type(b"late\n")
            world.terminal.resize(30, 100)

            assert world.terminal.attach(ours).over.is_set()


@pytest.mark.parametrize("cancelled", [True, False])
async def test_nothing_is_left_open(cancelled: bool) -> None:
    before = read_descriptors()
    async with opened() as world:
        if cancelled:
            os.close(world.slave)
        else:
            await world.end()

    assert read_descriptors() == before


async def test_log_that_nobody_reads_any_more_harms_nobody() -> None:
    async with opened() as world:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, world.log)
        os.close(null)
        os.write(world.slave, b"hello\n")
        await wait_all_tasks_blocked()

        assert not world.over.is_set()
        assert await world.end() == b""
