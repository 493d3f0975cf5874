import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.isolation import spawn
from mocker.supervisor.feeds import Feed
from mocker.supervisor.line_formats import make_format
from mocker.supervisor.line_ring import LineRing, RingSpace
from mocker.supervisor.lines import Source
from mocker.supervisor.outlets import Outlet
from mocker.supervisor.relay import Relay, Ways, _Pipe
from mocker.supervisor.sink_console import Console
from mocker.supervisor.sinks import Sink
from mocker.supervisor.traffic import Traffic
from tests.containers import in_container, script

WEB = Source("web", "stdout", 12, 1)
MOST = 16_384
CHECKOUT = Path(__file__).parents[2]


class Relayed:
    """A job's pipe with a relay to the other end, and what came out.

    Attributes:
        write_end: The job's; closed at the end.
        ring: What was kept.
        seen: What was shown to whoever looks for something in it.
        feed: For those who follow it.
    """

    def __init__(self, name: str = "prefix") -> None:
        self._read_end, self.write_end = os.pipe()
        self._fd = os.memfd_create("sink")
        self._name = name
        self._sink: Sink | None = None
        self.ring: LineRing = RingSpace().make_ring()
        self.seen: list[bytes] = []
        self.feed = Feed("web")

    def print(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.write_end, data) :]

    def close(self) -> None:
        os.close(self.write_end)

    async def run(self) -> None:
        """Relay until the pipe's end."""
        traffic = Traffic()
        self._sink = Sink("memory", Console(self._fd), traffic)
        outlet = make_outlet(self._sink, self._name)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sink.run)
            ways = Ways([outlet], self.ring, traffic, self.seen.append, self.feed)
            await Relay(self._read_end, WEB, ways, MOST).run()

    async def show(self) -> bytes:
        """Return what is written by now."""
        assert self._sink is not None
        await self._sink.flush(5)
        return os.pread(self._fd, 2**26, 0)

    async def finish(self) -> bytes:
        """Relay all there is, and return what was written."""
        self.close()
        await self.run()
        text = await self.show()
        os.close(self._fd)
        return text


def make_outlet(sink: Sink, name: str = "raw", source: Source = WEB) -> Outlet:
    sink.users += 1
    return Outlet(sink, make_format(name, source), job=source.job, drops=False)


@asynccontextmanager
async def open_sink(fd: int, traffic: Traffic) -> AsyncIterator[Sink]:
    sink = Sink("memory", Console(fd), traffic)
    sink.users += 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        yield sink
        sink.release()


async def test_each_line_is_written() -> None:
    relayed = Relayed()
    relayed.print(b"one\n\ntwo\n")

    assert await relayed.finish() == b"<6>web | one\n<6>web | \n<6>web | two\n"


async def test_last_line_without_end_is_written() -> None:
    relayed = Relayed()
    relayed.print(b"one\ntwo")

    assert await relayed.finish() == "<6>web | one\n<6>web | two…\n".encode()


async def test_bytes_stay_as_they_are() -> None:
    relayed = Relayed("raw")
    relayed.print(b"\xff\0\r\x1b[1m\n" + b"x" * 40_000)

    assert await relayed.finish() == b"\xff\0\r\x1b[1m\n" + b"x" * 40_000


async def test_job_that_prints_nothing_leaves_nothing() -> None:
    relayed = Relayed()

    assert (await relayed.finish(), relayed.ring.list_last()) == (b"", [])


async def test_lines_are_given_to_those_who_follow() -> None:
    relayed = Relayed()
    place = relayed.feed.join()
    relayed.print(b"one\ntwo")

    await relayed.finish()

    lines = [json.loads(line)["line"] for line in (place.take() + place.take()).splitlines()]
    assert lines == ["one", "two"]


async def test_lines_are_shown_to_whoever_looks_for_something() -> None:
    relayed = Relayed()
    relayed.print(b"one\ntwo\nthree")

    await relayed.finish()

    assert relayed.seen == [b"one\ntwo", b"three"]
    assert relayed.ring.list_last() == [b"one", b"two", b"three"]


async def test_line_that_comes_in_two_parts_is_one() -> None:
    relayed = Relayed()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relayed.run)
        relayed.print(b"rea")
        await wait_all_tasks_blocked()
        relayed.print(b"dy\n")
        relayed.close()
    os.close(relayed._fd)

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
    os.close(relayed._fd)

    assert before == b""
    assert after == "<6>web | Name: …\n".encode()
    assert end == "<6>web | Name: …\n<6>web | Hello\n".encode()


async def test_dots_are_shown_in_steps_while_more_of_them_come(mock_clock: MockClock) -> None:
    relayed = Relayed("raw")
    place = relayed.feed.join()
    shown = list[int]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relayed.run)
        for _ in range(6):  # so few that it does not count as a flood
            relayed.print(b".")
            await wait_all_tasks_blocked()
            mock_clock.jump(0.4)
            await wait_all_tasks_blocked()
            shown.append(len(await relayed.show()))
        relayed.print(b" done\n")
        relayed.close()
    written = await relayed.show()
    os.close(relayed._fd)

    followed = [json.loads(place.take()) for _ in range(3)]
    assert shown == [0, 0, 3, 3, 3, 6]
    assert written == b"...... done\n"
    assert relayed.seen == [b"...", b"...", b" done"]
    assert [(told["line"], told.get("partial")) for told in followed] == [
        ("...", True),
        ("...", True),
        (" done", None),
    ]


async def test_second_of_a_line_begins_with_its_own_first_byte(autojump_clock: MockClock) -> None:
    relayed = Relayed()
    seen = list[list[bytes]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relayed.run)
        for text in (b"one", b"\ntw", b"o", b""):
            relayed.print(text)
            await trio.sleep(0.6)
            seen.append(relayed.seen[:])
        relayed.close()
    os.close(relayed._fd)

    assert seen == [[], [b"one"], [b"one", b"two"], [b"one", b"two"]]


async def test_part_of_a_character_is_shown_a_second_later_than_what_is_before_it(
    autojump_clock: MockClock,
) -> None:
    relayed = Relayed()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relayed.run)
        relayed.print(b"na\xc3")
        await trio.sleep(1.5)
        at_first = relayed.seen[:]
        await trio.sleep(1)
        later = relayed.seen[:]
        relayed.close()
    os.close(relayed._fd)

    assert (at_first, later) == ([b"na"], [b"na", b"\xc3"])


async def test_pipe_is_closed_if_the_relay_is_cancelled() -> None:
    read_end, write_end = os.pipe()
    ways = Ways([], RingSpace().make_ring(), Traffic())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Relay(read_end, WEB, ways, MOST).run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    with pytest.raises(BrokenPipeError):
        os.write(write_end, b"x")
    os.close(write_end)


@asynccontextmanager
async def relaying() -> AsyncIterator[tuple[Relay, int, LineRing]]:
    """Relay a pipe that a block writes to, into a ring alone, until the relay is done."""
    read_end, write_end = os.pipe()
    ring = RingSpace().make_ring()
    relay = Relay(read_end, WEB, Ways([], ring, Traffic()), MOST)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.run)
        yield relay, write_end, ring
    os.close(write_end)


async def test_pipe_that_somebody_else_has_open_is_at_its_end_when_nothing_comes(
    autojump_clock: MockClock,
) -> None:
    async with relaying() as (relay, write_end, ring):
        await trio.sleep(100)
        relay.end_when_silent()
        await trio.sleep(0.9)
        os.write(write_end, b"late\n")
        await trio.sleep(0.9)
        os.write(write_end, b"later")

    ended = trio.current_time()
    assert ring.list_last() == [b"late", b"later"]
    assert 102.7 < ended < 103


async def test_line_that_is_shown_early_leaves_the_end_of_the_pipe_where_it_is(
    autojump_clock: MockClock,
) -> None:
    async with relaying() as (relay, write_end, ring):
        relay.end_when_silent()
        os.write(write_end, b"be")
        await trio.sleep(0.5)
        os.write(write_end, b"gun")
        await trio.sleep(0.75)
        shown = ring.list_last()

    ended = trio.current_time()
    assert shown == [b"begun"]
    assert 1.4 < ended < 1.6


async def test_drops_are_told_though_the_job_falls_silent(autojump_clock: MockClock) -> None:
    read_end, write_end = os.pipe()
    stuck_read, stuck_write = os.pipe()
    sink = Sink("stuck", Console(stuck_write), Traffic())
    sink.put([b"x" * 2**20])
    sink.users += 1
    outlet = Outlet(sink, make_format("raw", WEB), job="web", drops=True)
    ways = Ways([outlet], RingSpace().make_ring(), Traffic())
    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Relay(read_end, WEB, ways, MOST).run)
            os.write(write_end, b"one\n")
            await trio.sleep(1)
            os.write(write_end, b"two\nthree\n")
            await trio.sleep(20)
            told = [event["lines"] for event in events]
            nursery.cancel_scope.cancel()

    for fd in (write_end, stuck_read, stuck_write):
        os.close(fd)
    assert told == [1, 2]


async def test_lines_that_a_relay_leaves_behind_are_told() -> None:
    read_end, write_end = os.pipe()
    stuck_read, stuck_write = os.pipe()
    traffic = Traffic()
    sink = Sink("stuck", Console(stuck_write), traffic)
    sink.put([b"x" * 2**20])
    ways = Ways([make_outlet(sink)], RingSpace().make_ring(), traffic)

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Relay(read_end, WEB, ways, MOST).run)
            os.write(write_end, b"one\ntwo\nthr")
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    os.close(write_end)
    os.close(stuck_read)
    os.close(stuck_write)
    (event,) = events
    assert (event["event"], event["lines"]) == ("job.output_lost", 3)


async def test_every_sink_of_a_channel_gets_everything() -> None:
    read_end, write_end = os.pipe()
    memories = [os.memfd_create("sink") for _ in range(2)]
    traffic = Traffic()
    async with open_sink(memories[0], traffic) as first, open_sink(memories[1], traffic) as second:
        outlets = [make_outlet(first, "raw"), make_outlet(second, "prefix")]
        os.write(write_end, b"one\ntwo\n")
        os.close(write_end)

        ways = Ways(outlets, RingSpace().make_ring(), traffic)
        await Relay(read_end, WEB, ways, MOST).run()

        texts = [os.pread(memory, 100, 0) for memory in memories]
        for memory in memories:
            os.close(memory)
    assert texts == [b"one\ntwo\n", b"<6>web | one\n<6>web | two\n"]


async def test_pipe_of_a_job_that_fills_it_grows() -> None:
    read_end, write_end = os.pipe()
    lines = b"x" * 99 + b"\n"
    text = lines * 40_000

    def print_much() -> None:
        with os.fdopen(write_end, "wb") as pipe:
            pipe.write(text)

    memory = os.memfd_create("sink")
    traffic = Traffic()
    seen: list[int] = []
    async with open_sink(memory, traffic) as sink, trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, print_much)
        ways = Ways(
            [make_outlet(sink)],
            RingSpace().make_ring(),
            traffic,
            lambda lines: seen.append(len(lines)),
        )
        await Relay(read_end, WEB, ways, MOST).run()

    written = os.pread(memory, 2**23, 0)
    os.close(memory)
    assert written == text
    assert max(seen) > 2**17


def test_small_pipe_that_is_full_each_time_is_read_without_a_pause() -> None:
    # The kernel gives such ones to a user who has many already.
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 8192)
    pipe = _Pipe(ours, Traffic())
    gathered = list[bool]()
    for _ in range(100):
        os.write(theirs, bytes(8192))
        pipe.read()
        gathered.append(pipe.may_gather)
    os.close(theirs)
    pipe.close()

    assert pipe.size == 8192
    assert not any(gathered)


async def test_lines_of_a_job_that_prints_one_after_the_other_gather_before_they_are_read() -> None:
    relayed = Relayed()
    lines = [b"%d" % number for number in range(2000)]

    async def print_line_by_line() -> None:
        for line in lines:
            relayed.print(line + b"\n")
            await trio.lowlevel.wait_writable(relayed.write_end)  # whoever reads has its turn
        relayed.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(relayed.run)
        nursery.start_soon(print_line_by_line)
    os.close(relayed._fd)

    assert b"\n".join(relayed.seen).split(b"\n") == lines
    assert len(relayed.seen) < len(lines) / 2


def is_in_an_epoll(fd: int) -> bool:
    """Tell whether an epoll instance of this process looks at a descriptor, see proc(5), fdinfo."""
    texts = [path.read_text() for path in Path("/proc/self/fdinfo").iterdir() if path.exists()]
    return any(re.search(rf"^tfd: +{fd} ", text, re.MULTILINE) for text in texts)


async def test_write_of_a_job_that_floods_wakes_nobody_until_somebody_waits_again() -> None:
    ours, theirs = os.pipe()
    pipe = _Pipe(ours, Traffic())
    os.write(theirs, b"first\n")
    await pipe.wait_readable()
    at_first = is_in_an_epoll(ours)
    for _ in range(100):
        os.write(theirs, b"line\n")
        pipe.read()
    in_flood, floods = is_in_an_epoll(ours), pipe.may_gather
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipe.wait_readable)
        await wait_all_tasks_blocked()
        later = is_in_an_epoll(ours)
        os.write(theirs, b"last\n")
    size = pipe.read()
    os.close(theirs)
    pipe.close()

    assert (at_first, floods, in_flood, later) == (True, True, False, True)
    assert size == len(b"last\n")


async def test_pipes_that_have_grown_leave_to_others_what_they_had() -> None:
    traffic = Traffic()
    memory = os.memfd_create("sink")
    before = traffic.lend()
    traffic.give_back(before)

    def print_much(fd: int) -> None:
        with os.fdopen(fd, "wb") as pipe:
            pipe.write(b"x" * 2**20)

    async with open_sink(memory, traffic) as sink:
        for _ in range(40):
            read_end, write_end = os.pipe()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, print_much, write_end)
                ways = Ways([make_outlet(sink)], RingSpace().make_ring(), traffic)
                await Relay(read_end, WEB, ways, MOST).run()

    os.close(memory)
    assert traffic.lend() == before


@pytest.mark.slow
def test_memory_stays_bounded_whatever_a_job_prints() -> None:
    # In a process of its own: this one may have had more before, or have it to spare.
    program = f"import trio, {__name__}; trio.run({__name__}.relay_much)"

    said = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True
    )

    grown, kept = map(int, said.stdout.split())
    assert grown < 16_000  # kilobytes
    assert kept < 25_000


async def relay_much() -> None:
    """Relay 50 MB without a newline; print how many kilobytes that takes, and the bytes kept."""
    read_end, write_end = os.pipe()
    null = os.open(os.devnull, os.O_WRONLY)
    traffic = Traffic()
    ring = RingSpace().make_ring()

    def print_much() -> None:
        with os.fdopen(write_end, "wb") as pipe:
            pipe.writelines(b"x" * 2**16 for _ in range(800))

    before = read_memory()
    async with open_sink(null, traffic) as sink, trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, print_much)
        outlets = [make_outlet(sink, "json")]
        await Relay(read_end, WEB, Ways(outlets, ring, traffic), MOST).run()
    print(read_memory() - before, sum(len(line) for line in ring.list_last(20)))  # noqa: T201


def read_memory() -> int:
    """Return the most this process has had, in kilobytes."""
    status = Path("/proc/self/status").read_text()
    (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peak)


@in_container
async def test_lines_of_whoever_outlives_the_command_are_relayed_up_to_the_end() -> None:
    talk = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done"
    relayed = Relayed("raw")
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
async def test_job_that_floods_a_sink_does_not_silence_others() -> None:
    """The other's lines come out while the flood goes on, not after it."""
    read_ends, write_ends = zip(os.pipe(), os.pipe(), strict=True)
    memory = os.memfd_create("sink")
    traffic = Traffic()

    def flood() -> None:
        with os.fdopen(write_ends[0], "wb") as pipe:
            pipe.writelines(b"x" * 2**16 for _ in range(400))

    async def talk() -> None:
        with os.fdopen(write_ends[1], "wb", buffering=0) as pipe:
            for number in range(20):
                pipe.write(b"%d\n" % number)
                await trio.lowlevel.wait_writable(write_ends[1])

    async with open_sink(memory, traffic) as sink, trio.open_nursery() as jobs:
        for fd, name in zip(read_ends, ("flood", "talk"), strict=True):
            source = Source(name, "stdout", 1, 1)
            outlets = [make_outlet(sink, "prefix", source)]
            ways = Ways(outlets, RingSpace().make_ring(), traffic)
            jobs.start_soon(Relay(fd, source, ways, MOST).run)
        jobs.start_soon(trio.to_thread.run_sync, flood)
        jobs.start_soon(talk)
    lines = os.pread(memory, 2**26, 0).splitlines()
    os.close(memory)

    talked = [place for place, line in enumerate(lines) if line.startswith(b"<6>talk")]
    assert [lines[place] for place in talked] == [b"<6>talk | %d" % n for n in range(20)]
    assert talked[-1] < len(lines) / 2
