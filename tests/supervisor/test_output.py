import errno
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.output import Output
from tests.requirements import requires_user

PIECE = b"x" * 65_535 + b"\n"
FULL = 2**16  # bytes that fit into a pipe


@contextmanager
def open_pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", buffering=0), os.fdopen(write_end, "wb", buffering=0):
        yield read_end, write_end


@asynccontextmanager
async def open_output(fd: int) -> AsyncIterator[Output]:
    output = Output(fd)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run)
        with trio.fail_after(10):
            yield output
        nursery.cancel_scope.cancel()


async def read(fd: int, size: int) -> bytes:
    """Read exactly this much."""
    data = b""
    while len(data) < size:
        await trio.lowlevel.wait_readable(fd)
        data += os.read(fd, size - len(data))
    return data


async def test_all_that_comes_is_written_in_order() -> None:
    with open_pipe() as (read_end, write_end):
        async with open_output(write_end) as output:
            output.put(b"one\n")
            output.put(b"two\n")
            output.put(b"three\n")

            assert await read(read_end, 14) == b"one\ntwo\nthree\n"


async def test_what_came_before_the_start_is_written() -> None:
    with open_pipe() as (read_end, write_end):
        output = Output(write_end)
        output.put(b"early\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.run)

            assert await read(read_end, 6) == b"early\n"
            nursery.cancel_scope.cancel()


async def test_supervisor_never_waits_and_what_it_lost_is_told_once_there_is_room() -> None:
    with open_pipe() as (read_end, write_end), structlog.testing.capture_logs() as events:
        async with open_output(write_end) as output:
            output.put(PIECE)
            output.put(b"stuck\n")
            await wait_all_tasks_blocked(0.02)
            for _ in range(200):
                output.put(PIECE)
            told_while_stuck = list(events)

            text = await read(read_end, 129 * len(PIECE) + len(b"stuck\n"))
            assert await output.drain(5)

    assert told_while_stuck == []
    assert text == PIECE + b"stuck\n" + PIECE * 128
    assert [event["event"] for event in events] == ["output.dropped"]
    assert events[0]["lines"] == 72


async def test_reader_that_is_gone_harms_nobody() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb"):
        async with open_output(write_end) as output:
            for _ in range(20):
                output.put(PIECE)

            assert await output.drain(5)
            assert output.error is not None
            assert output.error.errno == errno.EPIPE


async def test_lines_lost_on_a_full_disk_are_told_once_it_takes_some_again() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with open_pipe() as (read_end, write_end), structlog.testing.capture_logs() as events:
        async with open_output(full) as output:
            output.put(b"one\ntwo\n")
            assert await output.drain(5)
            error, told = output.error, list(events)
            os.dup2(write_end, full)

            output.put(b"three\n")

            assert await read(read_end, 6) == b"three\n"
            assert await output.drain(5)
    os.close(full)
    assert error is not None
    assert error.errno == errno.ENOSPC
    assert told == []
    assert [(event["event"], event["lines"]) for event in events] == [("output.dropped", 2)]
    assert output.error is None


async def test_nothing_is_left_after_draining() -> None:
    with open_pipe() as (read_end, write_end):
        async with open_output(write_end) as output:
            output.put(b"text")

            assert await output.drain(5)
            assert os.read(read_end, 10) == b"text"


async def test_draining_ends_in_time() -> None:
    with open_pipe() as (read_end, write_end):
        async with open_output(write_end) as output:
            output.put(PIECE + b"more")

            assert not await output.drain(0.02)
            assert len(await read(read_end, len(PIECE) + 4)) == FULL + 4


@pytest.mark.slow
def test_stuck_write_does_not_keep_the_process_from_ending() -> None:
    program = (
        "import sys, trio; from mocker.supervisor.output import Output\n"
        "async def main():\n"
        "    output = Output(1)\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        nursery.start_soon(output.run)\n"
        "        output.put(b'x' * 2**20)\n"
        "        await output.drain(0.05)\n"
        "        nursery.cancel_scope.cancel()\n"
        "trio.run(main); sys.exit(7)"
    )
    with open_pipe() as (_, write_end):
        result = subprocess.run(
            [sys.executable, "-c", program], stdout=write_end, timeout=10, check=False
        )

    assert result.returncode == 7


@requires_user
async def test_lines_wait_for_a_thread_that_is_refused() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    with open_pipe() as (read_end, write_end):
        async with open_output(write_end) as output:
            resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
            try:
                output.put(b"one\n")
                await wait_all_tasks_blocked()
                output.put(b"two\n")
            finally:
                resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))

            assert await output.drain(5)
            assert await read(read_end, 8) == b"one\ntwo\n"
