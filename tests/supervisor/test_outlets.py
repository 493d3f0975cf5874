import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.supervisor.lines import Lines, Source
from mocker.supervisor.outlets import Outlet, wait_for_all
from mocker.supervisor.sinks import Sink
from mocker.supervisor.traffic import Traffic
from tests.supervisor.test_sinks import Memory

WEB = Source("web", "stdout", 12, 1)
LINES = Lines(WEB, b"one\ntwo\n", (), 0)
MUCH = Lines(WEB, b"x" * 2**20 + b"\n", (), 0)


def make_outlet(sink: Sink, job: str = "web", *, drops: bool = False) -> Outlet:
    sink.users += 1
    return Outlet(sink, lambda lines: [lines.raw], job=job, drops=drops)


async def test_lines_are_dropped_and_counted_where_there_is_no_room() -> None:
    target = Memory()
    target.gate.clear()
    sink = Sink("logs/web.log", target, Traffic())
    outlet = make_outlet(sink, drops=True)
    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.run)
            outlet.put(MUCH)
            for _ in range(1000):
                assert not outlet.must_wait
                outlet.put(LINES)
            told_at_first = [event["lines"] for event in events]
            target.gate.set()
            await sink.flush(5)
            outlet.put(LINES)
            outlet.close()

    assert target.written == MUCH.raw + LINES.raw
    assert told_at_first == [2]
    assert [(event["event"], event["job"]) for event in events] == [("sink.dropped", "web")] * 2
    assert sum(event["lines"] for event in events) == 2000


@pytest.mark.parametrize(
    ("batches", "count"),
    [
        # Each is text, and which pieces of it are partial; whether it continues follows from that.
        ([(b"one\ntwo\n", ())], 2),
        ([(b"x\n" * 3, (0, 1, 2))] * 1000, 1),
        ([(b"x\n", (0,)), (b"\n", ())], 1),
        ([(b"one\nx\nx\n", (1, 2)), (b"x\nx\ntwo\n", (0,))], 3),
        ([(b"x\nx\none\n", (0,)), (b"y\ny\n", (0, 1)), (b"y\ntwo\nz\n", (2,))], 5),
    ],
)
async def test_line_that_is_dropped_in_pieces_counts_once(
    batches: list[tuple[bytes, tuple[int, ...]]], count: int
) -> None:
    sink = Sink("logs/web.log", Memory(), Traffic())
    outlet = make_outlet(sink, drops=True)
    outlet.put(MUCH)
    continues = False
    with capture_logs() as events:
        for text, partial in batches:
            outlet.put(Lines(WEB, text, partial, 0, continues))
            continues = partial[-1:] == (text.count(b"\n") - 1,)
        outlet.close()

    assert sum(event["lines"] for event in events) == count


async def test_line_of_which_a_piece_between_others_is_written_is_dropped_once() -> None:
    target = Memory()
    sink = Sink("logs/web.log", target, Traffic())
    outlet = make_outlet(sink, drops=True)
    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.run)
            outlet.put(Lines(WEB, b"a\n", (0,), 0))
            for _ in range(2):
                outlet.put(attrs.evolve(MUCH, partial=(0,), continues=True))
                outlet.put(Lines(WEB, b"b\n", (0,), 0, continues=True))
                await sink.flush(5)
            outlet.put(Lines(WEB, b"\n", (), 0, continues=True))
            outlet.close()

    assert target.written == b"a" + b"x" * 2**21 + b"\n"
    assert [event["lines"] for event in events] == [1]


async def test_outlet_is_full_whether_it_drops_or_waits() -> None:
    target = Memory()
    target.gate.clear()
    sink = Sink("logs/web.log", target, Traffic())
    outlets = [make_outlet(sink, drops=drops) for drops in (False, True)]
    before = [(outlet.is_full, outlet.must_queue) for outlet in outlets]

    outlets[0].put(MUCH)

    assert before == [(False, False)] * 2
    assert [(outlet.is_full, outlet.must_queue) for outlet in outlets] == [
        (True, True),
        (True, False),
    ]


async def test_drops_are_told_every_ten_seconds(autojump_clock: MockClock) -> None:
    sink = Sink("logs/web.log", Memory(), Traffic())
    outlet = make_outlet(sink, drops=True)
    outlet.put(MUCH)
    with capture_logs() as events:
        for _ in range(300):
            outlet.put(LINES)
            await trio.sleep(0.1)

    assert 3 <= len(events) <= 4


async def test_whoever_carries_a_batch_waits_for_the_slowest_sink() -> None:
    slow, fast = Memory(), Memory()
    slow.gate.clear()
    traffic = Traffic()
    sinks = [Sink("slow", slow, traffic), Sink("fast", fast, traffic)]
    outlets = [make_outlet(sink) for sink in sinks]
    done = []

    async def carry() -> None:
        for _ in range(2):
            await wait_for_all(outlets)
            for outlet in outlets:
                outlet.put(MUCH)
            done.append(1)

    async with trio.open_nursery() as nursery:
        for sink in sinks:
            nursery.start_soon(sink.run)
        nursery.start_soon(carry)
        await wait_all_tasks_blocked(0.01)
        done_at_first, fast_at_first = len(done), len(fast.written)
        slow.gate.set()
        while len(done) < 2:
            await sinks[0]._lanes.find("web").progress.wait()
        for outlet in outlets:
            outlet.close()

    assert (done_at_first, fast_at_first) == (1, len(MUCH.text))
    assert slow.written == fast.written == MUCH.text * 2


async def test_who_waits_for_a_slow_sink_keeps_no_place_at_another_one() -> None:
    traffic = Traffic()
    journal, slow = Sink("journal", Memory(), traffic, entry=b"\n"), Sink("slow", Memory(), traffic)
    let_in = list[str]()

    async def carry(job: str, *sinks: Sink) -> None:
        await wait_for_all([make_outlet(sink, job) for sink in sinks])
        let_in.append(job)

    with trio.fail_after(2):
        async with trio.open_nursery() as nursery:
            for sink in (journal, slow):
                outlet = make_outlet(sink, "other")
                outlet.put(MUCH)
                outlet.put(MUCH)
            nursery.start_soon(carry, "first", journal, slow)
            await wait_all_tasks_blocked()
            nursery.start_soon(carry, "second", journal)
            await wait_all_tasks_blocked()
            journal._settle(journal._lanes.find("other"), journal.waiting)
            await wait_all_tasks_blocked()
            first_in = list(let_in)
            slow._settle(slow._lanes.find("other"), slow.waiting)

    assert (first_in, let_in) == (["second"], ["second", "first"])


async def test_what_was_dropped_can_be_told_without_another_line(
    autojump_clock: MockClock,
) -> None:
    sink = Sink("logs/web.log", Memory(), Traffic())
    outlet = make_outlet(sink, drops=True)
    outlet.put(MUCH)
    with capture_logs() as events:
        for _ in range(2):
            outlet.put(LINES)
        had_news = outlet.has_news
        outlet.tell_dropped()
        told_at_once = len(events)
        await trio.sleep(10)
        outlet.tell_dropped()

    assert (had_news, outlet.has_news, told_at_once) == (True, False, 1)
    assert [event["lines"] for event in events] == [2, 2]
