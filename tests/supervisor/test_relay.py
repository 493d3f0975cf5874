import os
import resource
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.isolation import spawn
from mocker.supervisor.output import Output
from mocker.supervisor.relay import LineTail, relay_lines
from tests.containers import in_container, script


class Relayed:
    """A job's pipe with a relay to the other end, and what came out.

    Attributes:
        write_end: The job's; closed at the end.
        tail: What was kept.
        seen: What was shown to whoever looks for something in it.
    """

    def __init__(self, prefix: bytes = b"web | ") -> None:
        self._read_end, self.write_end = os.pipe()
        self._output_fd = os.memfd_create("output")
        self._output = Output(self._output_fd)
        self._prefix = prefix
        self.tail = LineTail(3)
        self.seen: list[bytes] = []

    def print(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.write_end, data) :]

    def close(self) -> None:
        os.close(self.write_end)

    async def run(self) -> None:
        """Relay until the pipe's end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._output.run)
            await relay_lines(
                self._read_end,
                prefix=self._prefix,
                output=self._output,
                tail=self.tail,
                seen=self.seen.append,
            )
            await self._output.drain(5)
            nursery.cancel_scope.cancel()

    async def show(self) -> bytes:
        """Return what is written by now."""
        await self._output.drain(5)
        return os.pread(self._output_fd, 2**26, 0)

    async def finish(self) -> bytes:
        """Relay all there is, and return what was written."""
        self.close()
        await self.run()
        text = await self.show()
        os.close(self._output_fd)
        return text


async def test_each_line_has_the_prefix() -> None:
    relayed = Relayed()
    relayed.print(b"one\n\ntwo\n")

    assert await relayed.finish() == b"web | one\nweb | \nweb | two\n"


async def test_last_line_without_end_is_written() -> None:
    relayed = Relayed()
    relayed.print(b"one\ntwo")

    assert await relayed.finish() == b"web | one\nweb | two\n"


async def test_bytes_stay_as_they_are() -> None:
    relayed = Relayed()
    relayed.print(b"\xff\0\r\x1b[1m\n")

    assert await relayed.finish() == b"web | \xff\0\r\x1b[1m\n"


async def test_job_that_prints_nothing_leaves_nothing() -> None:
    relayed = Relayed()

    assert (await relayed.finish(), relayed.tail.lines()) == (b"", [])


async def test_lines_are_shown_to_whoever_looks_for_something() -> None:
    relayed = Relayed()
    relayed.print(b"one\ntwo\nthree")

    await relayed.finish()

    assert relayed.seen == [b"one\ntwo", b"three"]


async def test_line_that_comes_in_two_parts_is_one() -> None:
    relayed = Relayed()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relayed.run)
        relayed.print(b"rea")
        await wait_all_tasks_blocked()
        relayed.print(b"dy\n")
        relayed.close()
    os.close(relayed._output_fd)

    assert relayed.seen == [b"ready"]


async def test_question_is_shown_after_a_second(mock_clock: MockClock) -> None:
    relayed = Relayed()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relayed.run)
        relayed.print(b"Name: ")
        await wait_all_tasks_blocked()
        mock_clock.jump(0.9)
        await wait_all_tasks_blocked()
        before = await relayed.show()
        mock_clock.jump(0.2)
        await wait_all_tasks_blocked()
        after = await relayed.show()
        relayed.print(b"\nHello\n")
        relayed.close()
    end = await relayed.show()
    os.close(relayed._output_fd)

    assert before == b""
    assert after == "web | Name: …\n".encode()
    assert end == "web | Name: …\nweb | Hello\n".encode()


async def test_pipe_is_closed_if_the_relay_is_cancelled() -> None:
    read_end, write_end = os.pipe()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            lambda: relay_lines(read_end, prefix=b"", output=Output(1), tail=LineTail(1))
        )
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    with pytest.raises(BrokenPipeError):
        os.write(write_end, b"x")
    os.close(write_end)


@pytest.mark.slow
async def test_memory_stays_bounded_whatever_a_job_prints() -> None:
    read_end, write_end = os.pipe()
    output, tail = Output(os.open(os.devnull, os.O_WRONLY)), LineTail(20)

    def print_much() -> None:
        with os.fdopen(write_end, "wb") as pipe:
            pipe.writelines(b"x" * 2**16 for _ in range(1600))  # 100 MB, and no newline

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run)
        nursery.start_soon(trio.to_thread.run_sync, print_much)
        await relay_lines(read_end, prefix=b"web | ", output=output, tail=tail)
        nursery.cancel_scope.cancel()
    os.close(output.fd)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16_000  # kilobytes
    assert sum(len(line) for line in tail.lines()) < 25_000


@in_container
async def test_lines_of_whoever_outlives_the_command_are_relayed_up_to_the_end() -> None:
    talk = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"
    relayed = Relayed(b"")
    null = os.open(os.devnull, os.O_RDWR)
    spec = script(f"setsid sh -c '{talk}' & sleep 0.1; echo over", grace=0.2)
    container = spawn(spec, stdin=null, stdout=relayed.write_end, stderr=null)
    os.close(null)

    text = await relayed.finish()

    with container:
        assert container.wait(5).code == 0
    *lines, last = text.decode().splitlines()
    numbers = [int(line) for line in [*lines, last] if line != "over"]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 1


@pytest.mark.slow
async def test_job_that_floods_the_console_does_not_silence_others() -> None:
    """The other's lines come out while the flood goes on, not after it."""
    read_ends, write_ends = zip(os.pipe(), os.pipe(), strict=True)
    memory = os.memfd_create("output")
    output = Output(memory)

    def flood() -> None:
        with os.fdopen(write_ends[0], "wb") as pipe:
            pipe.writelines(b"x" * 2**16 for _ in range(400))

    async def talk() -> None:
        with os.fdopen(write_ends[1], "wb", buffering=0) as pipe:
            for number in range(20):
                pipe.write(b"%d\n" % number)
                await trio.lowlevel.wait_writable(write_ends[1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run)
        async with trio.open_nursery() as jobs:
            for fd, prefix in zip(read_ends, (b"flood ", b"talk "), strict=True):
                relay = partial(relay_lines, prefix=prefix, output=output, tail=LineTail(1))
                jobs.start_soon(relay, fd)
            jobs.start_soon(trio.to_thread.run_sync, flood)
            jobs.start_soon(talk)
        await output.drain(5)
        nursery.cancel_scope.cancel()
    lines = os.pread(memory, 2**26, 0).splitlines()
    os.close(memory)

    talked = [place for place, line in enumerate(lines) if line.startswith(b"talk")]
    assert [lines[place] for place in talked] == [b"talk %d" % number for number in range(20)]
    assert talked[-1] < len(lines) / 2


# The last lines.


def test_last_lines_are_kept() -> None:
    tail = LineTail(3)

    tail.add(b"1\n2\n")
    tail.add(b"3\n4\n")

    assert tail.lines() == [b"2", b"3", b"4"]


def test_of_many_lines_the_last_are_kept() -> None:
    tail = LineTail(3)

    tail.add(b"".join(b"%d\n" % number for number in range(1000)))

    assert tail.lines() == [b"997", b"998", b"999"]


def test_empty_lines_are_lines() -> None:
    tail = LineTail(3)

    tail.add(b"\n\n")

    assert tail.lines() == [b"", b""]


def test_of_a_long_line_the_beginning_is_kept() -> None:
    tail = LineTail(3)

    tail.add(b"x" * 10_000 + b"\n")

    assert tail.lines() == [b"x" * 1024 + "…".encode()]
