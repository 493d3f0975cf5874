import errno
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial

import pytest
import trio
from structlog.testing import capture_logs
from structlog.typing import EventDict
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.supervisor.sinks import Sink
from mocker.supervisor.traffic import Traffic

PIECE = b"x" * 65_535 + b"\n"
ENTRY = b"E="  # of which each piece has one, where jobs take turns


class Memory:
    """A target that takes what it is allowed to.

    Attributes:
        written: What it has taken.
        error: Why it takes nothing; None if it does.
        room: Bytes that it still takes before it refuses the rest.
        gate: Open unless a write is to hang.
        calls: How often it was written to.
        pieces: How many there were in the last write.
        thread: That wrote last.
    """

    def __init__(self) -> None:
        self.written = b""
        self.error: int | None = None
        self.room = 2**40
        self.gate = threading.Event()
        self.gate.set()
        self.calls = self.pieces = 0
        self.reopened = 0
        self.is_closed = False
        self.thread = 0
        self.may_hang = True
        self.fd: int | None = None

    def write(self, pieces: list[bytes]) -> tuple[list[bytes], OSError | None]:
        self.calls += 1
        self.pieces = len(pieces)
        self.thread = threading.get_ident()
        self.gate.wait()
        if self.error is None:
            self.written += b"".join(pieces)
            return [], None
        data = b"".join(pieces)
        taken, self.room = data[: self.room], max(self.room - len(data), 0)
        self.written += taken
        rest = data[len(taken) :]
        return [rest] if rest else [], OSError(self.error, os.strerror(self.error))

    def refuse(self, error: int, room: int = 0) -> None:
        self.error, self.room = error, room

    def reopen(self) -> None:
        self.reopened += 1

    def close(self) -> None:
        self.is_closed = True


@asynccontextmanager
async def open_sink(
    target: Memory,
    traffic: Traffic | None = None,
    final: tuple[int, ...] = (),
    entry: bytes | None = None,
) -> AsyncIterator[Sink]:
    sink = Sink("logs/web.log", target, traffic or Traffic(), final=final, entry=entry)
    sink.users = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        yield sink
        target.gate.set()
        nursery.cancel_scope.cancel()


@contextmanager
def open_full_pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", buffering=0), os.fdopen(write_end, "wb", buffering=0):
        os.set_blocking(write_end, False)
        os.write(write_end, bytes(2**16))
        yield read_end, write_end


def names(events: list[EventDict]) -> list[object]:
    return [event["event"] for event in events]


@pytest.fixture
def patient_clock(autojump_clock: MockClock) -> MockClock:
    """Let time jump only when no thread is at work either."""
    autojump_clock.autojump_threshold = 0.02
    return autojump_clock


async def test_all_that_comes_is_written_in_order() -> None:
    target = Memory()
    async with open_sink(target) as sink:
        sink.put([b"one\n"])
        sink.put([b"two\n", b"three\n"])

        assert await sink.flush(5)

    assert target.written == b"one\ntwo\nthree\n"


async def test_what_gathers_during_a_write_is_written_with_one() -> None:
    target = Memory()
    target.gate.clear()
    async with open_sink(target) as sink:
        sink.put([b"one\n"])
        await wait_all_tasks_blocked(0.01)
        for _ in range(100):
            sink.put([b"more\n"])
        target.gate.set()

        await sink.flush(5)

    assert target.calls == 2
    assert target.written == b"one\n" + b"more\n" * 100


@pytest.mark.parametrize(
    ("size", "sinks", "written"), [(2**16, 1, 3), (2**16, 100, 1), (100, 1, 1)]
)
async def test_big_pieces_of_few_sinks_alone_are_written_without_being_put_together(
    size: int, sinks: int, written: int
) -> None:
    target = Memory()
    traffic = Traffic()
    traffic.sinks = sinks
    pieces = [bytes([number]) * size for number in range(3)]
    async with open_sink(target, traffic) as sink:
        sink.put(pieces)
        await sink.wait_written()

    assert (target.written, target.pieces) == (b"".join(pieces), written)


async def test_sink_that_has_much_is_full_until_some_is_written() -> None:
    target = Memory()
    target.gate.clear()
    async with open_sink(target) as sink:
        for _ in range(16):
            sink.put([PIECE])
        was_full, was_waiting = sink.is_full(), sink.waiting
        target.gate.set()

        await sink.wait_room()

        assert not sink.is_full()
        await sink.flush(5)
        assert (was_full, was_waiting, sink.waiting) == (True, 2**20, 0)


async def test_those_who_wait_have_their_turn_in_order() -> None:
    target = Memory()
    target.gate.clear()
    async with open_sink(target) as sink:

        async def write(number: int) -> None:
            await sink.wait_room()
            sink.put([b"%d\n" % number])

        sink.put([PIECE] * 16)
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(write, number)
                await wait_all_tasks_blocked()
            target.gate.set()
        await sink.flush(5)

    assert target.written.endswith(b"x\n0\n1\n2\n3\n4\n")


async def test_slow_sinks_take_nothing_from_what_another_one_may_have() -> None:
    traffic = Traffic()
    traffic.sinks = 21
    target = Memory()
    target.gate.clear()
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(open_sink(target, traffic)) for _ in range(20)]
        sink = await stack.enter_async_context(open_sink(Memory(), traffic))
        await wait_all_tasks_blocked()
        for other in slow:
            while not other.is_full():
                other.put([PIECE])

        room = 0
        while not sink.is_full():
            sink.put([PIECE])
            room += len(PIECE)

        assert all(other.waiting <= room for other in slow)


async def test_room_is_found_though_others_have_made_the_share_smaller_meanwhile() -> None:
    traffic = Traffic()
    target = Memory()
    target.gate.clear()
    with trio.fail_after(3):
        async with open_sink(target, traffic) as sink, trio.open_nursery() as nursery:
            sink.put([PIECE] * 16)
            nursery.start_soon(sink.wait_room)
            traffic.sinks = 100
            await wait_all_tasks_blocked(0.01)

            target.gate.set()


async def test_what_a_slow_reader_leaves_is_written_in_small_parts() -> None:
    target = Memory()
    target.refuse(errno.EAGAIN, room=3)
    sizes = []
    write = target.write

    def note_size(pieces: list[bytes]) -> tuple[list[bytes], OSError | None]:
        sizes.append(sum(map(len, pieces)))
        return write(pieces)

    target.write = note_size  # type: ignore[method-assign]
    with open_full_pipe() as (read_end, target.fd):
        async with open_sink(target) as sink:
            sink.put([PIECE * 4])
            await wait_all_tasks_blocked(0.02)
            target.error = None

            os.read(read_end, 2**16)

            assert await sink.flush(5)

    assert target.written == PIECE * 4
    assert sizes[:2] == [2**18, 2**16]


async def test_broken_target_is_told_once_and_so_is_that_it_works_again(
    patient_clock: MockClock,
) -> None:
    target = Memory()
    target.refuse(errno.ENOSPC)
    with capture_logs() as events:
        async with open_sink(target) as sink:
            sink.put([b"one\n"])
            await trio.sleep(60)
            sink.put([b"two\n"])
            told, calls = list(events), target.calls
            target.error = None
            await trio.sleep(3)

    assert names(told) == ["sink.failed"]
    assert told[0]["sink"] == "logs/web.log"
    assert told[0]["reason"] == "it cannot be written: No space left on device (ENOSPC)"
    assert 10 < calls < 60
    assert names(events) == ["sink.failed", "sink.recovered"]
    assert 60 <= events[1]["after_s"] <= 63
    assert target.written == b"one\ntwo\n"


async def test_disk_that_fills_in_the_middle_of_a_line_loses_nothing(
    patient_clock: MockClock,
) -> None:
    target = Memory()
    target.refuse(errno.ENOSPC, room=6)
    with capture_logs():
        async with open_sink(target) as sink:
            sink.put([b"one\ntwo\n", b"three\n"])
            await trio.sleep(1)
            target.error = None
            await trio.sleep(3)

    assert target.written == b"one\ntwo\nthree\n"


async def test_target_that_is_reopened_is_tried_at_once(patient_clock: MockClock) -> None:
    target = Memory()
    target.refuse(errno.EACCES)
    with capture_logs() as events:
        async with open_sink(target) as sink:
            sink.put([b"one\n"])
            await trio.sleep(60)
            target.error = None
            asked = trio.current_time()

            sink.reopen()
            await sink._lanes.find("").progress.wait()

            waited = trio.current_time() - asked
    assert target.reopened == 1
    assert waited < 0.1
    assert names(events) == ["sink.failed", "sink.recovered"]


async def test_slow_reader_is_no_failure() -> None:
    target = Memory()
    target.refuse(errno.EAGAIN, room=3)
    with open_full_pipe() as (read_end, target.fd), capture_logs() as events:
        async with open_sink(target) as sink:
            sink.put([b"one\ntwo\n"])
            await wait_all_tasks_blocked(0.02)
            target.error = None

            os.read(read_end, 2**16)

            assert await sink.flush(5)

    assert (target.written, events) == (b"one\ntwo\n", [])


async def test_reader_that_stands_still_is_told(patient_clock: MockClock) -> None:
    target = Memory()
    target.refuse(errno.EAGAIN)
    with open_full_pipe() as (_, target.fd), capture_logs() as events:
        async with open_sink(target) as sink:
            sink.put([b"one\n"])
            await trio.sleep(4)
            told_at_first = list(events)
            await trio.sleep(60)
            calls = target.calls

    assert (told_at_first, names(events)) == ([], ["sink.failed"])
    assert "EAGAIN" in str(events[0]["reason"])
    assert calls < 30


async def test_write_that_hangs_while_a_job_waits_is_told(patient_clock: MockClock) -> None:
    target = Memory()
    target.gate.clear()
    with capture_logs() as events:
        async with open_sink(target) as sink:
            sink.put([PIECE] * 16)
            with trio.move_on_after(60):
                await sink.wait_room()

    assert names(events) == ["sink.failed"]
    assert events[0]["reason"] == "it has taken nothing for 5 s"


async def test_target_that_will_never_work_keeps_nobody_waiting() -> None:
    target = Memory()
    target.refuse(errno.EPIPE)
    with capture_logs() as events:
        async with open_sink(target, final=(errno.EPIPE,)) as sink:
            for _ in range(100):
                await sink.wait_room()
                sink.put([PIECE])
            await sink.wait_written()
            await sink.over.wait()

            assert sink.lost == 100
    assert names(events) == ["sink.failed"]


async def test_time_without_a_write_counts_while_something_is_on_its_way(
    autojump_clock: MockClock,
) -> None:
    target = Memory()
    async with open_sink(target) as sink:
        await trio.sleep(10)
        before = sink.standstill_s
        target.refuse(errno.ENOSPC)
        sink.put([PIECE])
        await trio.sleep(3)
        meanwhile = sink.standstill_s
        target.error = None
        await sink.wait_written()

        assert (before, meanwhile, sink.standstill_s) == (0, 3, 0)


async def test_flush_waits_for_what_was_there_alone() -> None:
    target = Memory()
    async with open_sink(target) as sink, trio.open_nursery() as nursery:

        async def flood() -> None:
            while True:
                await sink.wait_room()
                sink.put([PIECE])
                await trio.lowlevel.checkpoint()

        nursery.start_soon(flood)
        await trio.sleep(0.01)

        assert await sink.flush(5)
        nursery.cancel_scope.cancel()


async def test_nobody_waits_for_a_broken_target_to_be_flushed(patient_clock: MockClock) -> None:
    target = Memory()
    target.refuse(errno.ENOSPC)
    with capture_logs():
        async with open_sink(target) as sink:
            sink.put([b"one\n"])

            assert not await sink.flush(1000)
            waited = trio.current_time()

    assert waited < 1


async def test_what_cannot_be_written_at_the_end_is_counted(patient_clock: MockClock) -> None:
    target = Memory()
    target.refuse(errno.ENOSPC)
    with capture_logs() as events:
        async with open_sink(target) as sink:
            sink.put([b"one\ntwo\n", b"three\n"])
            await trio.sleep(10)
            began = trio.current_time()

            await sink.drain(0.5)

            took = trio.current_time() - began
    assert took < 0.6
    assert names(events) == ["sink.failed", "sink.lost"]
    assert (events[1]["sink"], events[1]["lines"]) == ("logs/web.log", 3)


async def test_what_hangs_at_the_end_is_counted() -> None:
    target = Memory()
    target.gate.clear()
    with capture_logs() as events:
        async with open_sink(target) as sink:
            sink.put([b"one\n"])
            await wait_all_tasks_blocked(0.01)
            sink.put([b"two\n"])

            await sink.drain(0.01)

    assert [(event["event"], event["lines"]) for event in events] == [("sink.lost", 2)]


async def test_line_without_an_end_that_is_lost_counts_once(patient_clock: MockClock) -> None:
    target = Memory()
    target.gate.clear()
    with capture_logs() as events:
        async with open_sink(target) as sink:
            sink.put([b"one\ntw"])
            await wait_all_tasks_blocked(0.01)  # so the rest is not in the thread
            sink.put([b"o\nthr", b"e"])
            sink.put([b"e"])

            await sink.drain(0.01)

    assert [(event["event"], event["lines"]) for event in events] == [("sink.lost", 3)]


async def test_line_without_an_end_counts_once_where_each_piece_is_lost_at_once() -> None:
    target = Memory()
    target.refuse(errno.EPIPE)
    counts = []
    with capture_logs():
        async with open_sink(target, final=(errno.EPIPE,)) as sink:
            for piece in (b"on", b"e", b"\ntwo", b"\n"):
                sink.put([piece])
                await sink.wait_written()
                counts.append(sink.lost)

    assert counts == [1, 1, 2, 2]


async def test_target_that_works_again_at_the_end_gets_everything(
    patient_clock: MockClock,
) -> None:
    target = Memory()
    target.refuse(errno.ENOSPC)
    with capture_logs() as events:
        async with open_sink(target) as sink:
            sink.put([b"one\n"])
            await trio.sleep(10)
            target.error = None

            await sink.drain(0.5)

    assert target.written == b"one\n"
    assert names(events) == ["sink.failed", "sink.recovered"]


async def test_sink_without_users_ends_once_all_is_written() -> None:
    target = Memory()
    sink = Sink("logs/web.log", target, Traffic())
    sink.users = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink.run)
        sink.put([b"one\n"])
        sink.release()

    assert (target.written, target.is_closed) == (b"one\n", True)


async def test_trouble_that_stops_nothing_is_told_once() -> None:
    target = Memory()
    trouble = [OSError(errno.EROFS, ""), OSError(errno.EROFS, ""), None]
    sink = Sink("logs/web.log", target, Traffic(), find_trouble=lambda: trouble.pop(0))
    sink.users = 1
    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.run)
            for _ in range(3):
                sink.put([b"one\n"])
                await sink.flush(5)
                await wait_all_tasks_blocked()
            sink.release()

    assert names(events) == ["sink.degraded"]


@pytest.mark.parametrize("may_hang", [True, False])
async def test_only_a_target_that_may_hang_is_written_to_by_a_thread(may_hang: bool) -> None:
    target = Memory()
    target.may_hang = may_hang
    async with open_sink(target) as sink:
        sink.put([b"one\n"])
        await sink.flush(5)

    assert target.written == b"one\n"
    assert (target.thread == threading.get_ident()) != may_hang


# Where jobs take turns.


def make_entries(job: str, count: int) -> list[bytes]:
    return [b"E=%b%d\n" % (job.encode(), number) for number in range(count)]


async def test_line_of_a_quiet_job_passes_a_flood() -> None:
    target = Memory()
    target.refuse(errno.EAGAIN)
    flood = make_entries("flood", 1000)
    with open_full_pipe() as (read_end, target.fd):
        async with open_sink(target, entry=ENTRY) as sink:
            sink.put(flood, "flood")
            await wait_all_tasks_blocked(0.02)
            sink.put([b"E=web\n"], "web")
            target.error = None

            os.read(read_end, 2**16)

            await sink.flush(5, "flood")

    before, after = target.written.split(b"E=web\n")
    assert before.count(ENTRY) <= 100
    assert before + after == b"".join(flood)


async def test_job_with_nothing_on_its_way_may_come_when_another_has_much() -> None:
    target = Memory()
    target.gate.clear()
    async with open_sink(target, entry=ENTRY) as sink:
        sink.put([PIECE] * 16, "flood")

        assert (sink.is_full("flood"), sink.is_full("web")) == (True, False)
        with trio.fail_after(1):
            await sink.wait_room("web")
        sink.put([PIECE], "web")
        assert sink.is_full("web")


async def test_jobs_together_have_no_more_than_twice_as_much() -> None:
    target = Memory()
    target.gate.clear()
    passed = []

    async def write(sink: Sink, job: str) -> None:
        await sink.wait_room(job)
        sink.put([PIECE] * 8, job)
        passed.append(job)

    async with open_sink(target, entry=ENTRY) as sink, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(write, sink, f"job-{number}")
        await wait_all_tasks_blocked(0.02)
        passed_at_first = len(passed)
        target.gate.set()

    assert (passed_at_first, len(passed)) == (4, 20)


async def test_jobs_that_wait_are_woken_one_after_the_other() -> None:
    target = Memory()
    target.gate.clear()
    traffic = Traffic()
    traffic.sinks = 2000  # so one job's entries are more than there is room for
    waiting = [f"web-{number}" for number in range(50)]
    came: list[str] = []
    steps = Steps()

    async def come(job: str) -> None:
        await sink.wait_room(job)
        sink.put(make_entries(job, 1000), job)
        came.append(job)

    trio.lowlevel.add_instrument(steps)
    async with open_sink(target, traffic, entry=ENTRY) as sink:
        sink.put(make_entries("first", 1000), "first")
        async with trio.open_nursery() as jobs:
            for name in waiting:
                jobs.start_soon(come, name, name=name)
                await wait_all_tasks_blocked()
            target.gate.set()
    trio.lowlevel.remove_instrument(steps)

    assert came == waiting
    assert max(steps.count[name] for name in waiting) <= 3


async def test_one_that_is_let_in_and_says_nothing_keeps_nobody_waiting() -> None:
    target = Memory()
    traffic = Traffic()
    traffic.sinks = 2000
    first = [ENTRY + bytes(97) + b"\n"] * (2 * traffic.share // 100 + 1)
    target.refuse(errno.EAGAIN, room=10 * 100)
    came: list[str] = []

    async def come(job: str, *, silent: bool) -> None:
        await sink.wait_room(job)
        came.append(job)
        if silent:
            sink.let_in()

    with open_full_pipe() as (_, target.fd):
        async with open_sink(target, traffic, entry=ENTRY) as sink:
            sink.put(first, "first")
            with trio.move_on_after(1):
                async with trio.open_nursery() as jobs:
                    for name in ("silent", "mute", "web"):
                        jobs.start_soon(partial(come, name, silent=name != "web"))
                        await wait_all_tasks_blocked()

    # Who comes in the moment in which another one is let in may be the first to notice.
    assert sorted(came) == ["mute", "silent", "web"]


class Slow(Memory):
    """A target for which time goes by with each write."""

    def __init__(self, clock: MockClock) -> None:
        super().__init__()
        self.may_hang = False
        self.clock = clock

    def write(self, pieces: list[bytes]) -> tuple[list[bytes], OSError | None]:
        self.clock.jump(0.02)
        return [], None


async def test_jobs_take_turns_even_if_each_waits_for_long(mock_clock: MockClock) -> None:
    names = [f"web-{number}" for number in range(60)]
    turns = Counter(dict.fromkeys(names, 0))
    entries = [ENTRY + bytes(127) + b"\n"] * 2000

    async def flood(job: str) -> None:
        while True:
            await sink.wait_room(job)
            sink.put(entries, job)
            turns[job] += 1

    async with open_sink(Slow(mock_clock), entry=ENTRY) as sink, trio.open_nursery() as jobs:
        for name in names:
            jobs.start_soon(flood, name)
        while trio.current_time() < 600:
            await trio.lowlevel.checkpoint()
        jobs.cancel_scope.cancel()

    assert min(turns.values()) > 3
    assert max(turns.values()) - min(turns.values()) <= 2


class Steps(trio.abc.Instrument):
    """How often each task was woken, by name."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count[task.name] += 1


async def test_each_job_waits_for_its_own_lines_alone() -> None:
    target = Memory()
    target.refuse(errno.EAGAIN, room=200)
    with open_full_pipe() as (_, target.fd):
        async with open_sink(target, entry=ENTRY) as sink:
            sink.put([b"E=web\n"], "web")
            sink.put(make_entries("flood", 1000), "flood")

            written = await sink.flush(5, "web"), await sink.flush(0.01, "flood")

    assert written == (True, False)


async def test_lines_of_all_jobs_that_cannot_be_written_at_the_end_are_counted(
    patient_clock: MockClock,
) -> None:
    target = Memory()
    target.refuse(errno.ECONNREFUSED)
    with capture_logs() as events:
        async with open_sink(target, entry=ENTRY) as sink:
            for job in ("web", "db"):
                sink.put(make_entries(job, 100), job)
            await trio.sleep(10)

            await sink.drain(0.5)

            left = sink.waiting
    assert [(event["event"], event.get("lines")) for event in events] == [
        ("sink.failed", None),
        ("sink.lost", 200),
    ]
    assert left == 0
