"""What outlives a run, with pipes whose sinks fail or have no room."""

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from mocker.supervisor.line_ring import RingSpace
from mocker.supervisor.lines import Source
from mocker.supervisor.outlets import Outlet
from mocker.supervisor.relay import Relay, Ways
from mocker.supervisor.run_output import Outputs, RunOutput
from mocker.supervisor.sinks import Sink
from mocker.supervisor.traffic import Traffic

ROOM = 2**21  # bytes; more than a sink has room for
SOURCE = Source("web", "stdout", 1, 1)


class Disk:
    """A target that may be full."""

    may_hang = False
    fd = None

    def __init__(self) -> None:
        self.is_full = True
        self.got = 0

    def write(self, pieces: list[bytes]) -> tuple[list[bytes], OSError | None]:
        if self.is_full:
            return pieces, OSError(errno.ENOSPC, "full")
        self.got += sum(map(len, pieces))
        return [], None

    def reopen(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""


class World:
    """An output whose job prints to a disk."""

    def __init__(self, outputs: Outputs, nursery: trio.Nursery) -> None:
        self.outputs, self.disk = outputs, Disk()
        traffic = Traffic()
        self.sink = Sink("disk", self.disk, traffic)
        self.sink.users += 1
        nursery.start_soon(self.sink.run)
        read_end, self.write_end = os.pipe()
        outlet = Outlet(self.sink, lambda lines: [lines.raw], job="web", drops=False)
        ways = Ways([outlet], RingSpace().make_ring(), traffic)
        self.output: RunOutput = outputs.open()
        self.output.relay(Relay(read_end, SOURCE, ways, 100), [outlet])

    async def print(self, size: int) -> None:
        """Print lines of so many bytes, and be gone."""
        line = b"x" * 63 + b"\n"
        with os.fdopen(self.write_end, "wb", buffering=0) as pipe:
            os.set_blocking(pipe.fileno(), False)
            while size > 0:
                size -= pipe.write(line * 100) or 0
                await trio.sleep(0.001)


@asynccontextmanager
async def printing() -> AsyncIterator[World]:
    outputs = Outputs()
    async with trio.open_nursery() as nursery:
        await nursery.start(outputs.run)
        yield World(outputs, nursery)
        nursery.cancel_scope.cancel()


async def test_output_is_handed_on_once_its_pipe_is_at_its_end(autojump_clock: MockClock) -> None:
    async with printing() as world:
        world.disk.is_full = False
        await world.print(6400)
        await world.output.wait_handed_on()

        assert (world.output.is_over, world.disk.got) == (True, 6400)


async def test_nobody_waits_for_what_a_sink_that_fails_has_no_room_for(
    autojump_clock: MockClock,
) -> None:
    async with printing() as world:
        world.sink.put([b"x" * ROOM], "web")
        await world.print(6400)
        await world.output.wait_handed_on()
        world.outputs.leave(world.output, "web")

        assert (world.output.is_over, world.outputs.is_any_left) == (False, True)


async def test_what_outlives_its_run_is_written_when_there_is_room_again(
    autojump_clock: MockClock,
) -> None:
    told: list[bool] = []
    async with printing() as world:
        world.outputs.follow = lambda: told.append(world.outputs.is_any_left)
        world.sink.put([b"x" * ROOM], "web")
        await world.print(6400)
        await world.output.wait_handed_on()
        world.outputs.leave(world.output, "web")
        world.disk.is_full = False
        await world.output.wait_over()
        await trio.testing.wait_all_tasks_blocked()

        assert (world.disk.got, told) == (ROOM + 6400, [False])


async def test_what_is_left_at_the_end_is_lost_and_told(autojump_clock: MockClock) -> None:
    async with printing() as world:
        world.sink.put([b"x" * ROOM], "web")
        await world.print(6400)
        await world.output.wait_handed_on()
        world.outputs.leave(world.output, "web")
        begin = trio.current_time()
        with capture_logs() as events:
            await world.outputs.end(0.7)

        assert trio.current_time() - begin == pytest.approx(0.7)
        assert [(event["event"], event["lines"]) for event in events] == [("job.output_lost", 100)]


async def test_end_does_not_wait_where_nothing_is_left(autojump_clock: MockClock) -> None:
    async with printing() as world:
        await world.print(0)
        await world.output.wait_over()
        begin = trio.current_time()
        await world.outputs.end(0.7)

        assert trio.current_time() == begin
