import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor import event_journal
from mocker.supervisor.event_journal import EventJournal
from mocker.supervisor.journal_entries import render_event
from mocker.supervisor.outage import Outage
from mocker.supervisor.output import Output
from mocker.supervisor.sink_journald import Journal
from tests.journald import open_journald, requires_journald

MANY = 1000  # more than a queue holds, and than what is sent in one go


@contextmanager
def open_stderr() -> Iterator[Output]:
    memory = os.memfd_create("stderr")
    try:
        yield Output(memory)
    finally:
        os.close(memory)


async def read_stderr(stderr: Output) -> list[str]:
    await stderr.drain(10)
    return os.pread(stderr.fd, 2**24, 0).decode().splitlines()


@asynccontextmanager
async def open_event_journal(
    path: Path, outage: Outage | None = None
) -> AsyncIterator[tuple[EventJournal, Output]]:
    with open_stderr() as stderr, closing(Journal(str(path))) as journal:
        events = EventJournal("mine", journal, stderr, outage or Outage("journald"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stderr.run)
            nursery.start_soon(events.run)
            with trio.fail_after(10):
                yield events, stderr
            nursery.cancel_scope.cancel()


def put(events: EventJournal, begin: int, end: int, size: int = 0) -> None:
    for number in range(begin, end):
        filling = {"filling": "x" * size}
        events.put(render_event(str(number), 6, filling), f"line {number}\n".encode())


def name(begin: int, end: int, what: str = "") -> list[str]:
    return [f"{what}{number}" for number in range(begin, end)]


@requires_journald
async def test_event_is_in_the_journal_at_once() -> None:
    with open_journald() as journald:
        async with open_event_journal(journald.socket) as (events, stderr):
            put(events, 0, 3)

            assert journald.read_messages() == name(0, 3)
            assert await read_stderr(stderr) == []


@requires_journald
async def test_events_wait_while_journald_stands_still() -> None:
    with open_journald() as journald:
        async with open_event_journal(journald.socket) as (events, stderr):
            journald.pause()
            put(events, 0, MANY)
            await wait_all_tasks_blocked()
            journald.resume()
            await events.drain(10)

            assert journald.read_messages() == name(0, MANY)
            assert await read_stderr(stderr) == []


@requires_journald
async def test_events_of_a_later_time_wait_for_those_before() -> None:
    with open_journald() as journald:
        async with open_event_journal(journald.socket) as (events, _):
            journald.pause()
            put(events, 0, MANY)
            journald.resume()
            put(events, MANY, MANY + 3)
            await events.drain(10)

            assert journald.read_messages() == name(0, MANY + 3)


@requires_journald
async def test_what_journald_does_not_take_in_time_goes_to_stderr() -> None:
    with open_journald() as journald:
        async with open_event_journal(journald.socket) as (events, stderr):
            journald.pause()
            put(events, 0, MANY)
            await events.drain(0)
            journald.resume()

            taken = len(journald.read())
            assert await read_stderr(stderr) == name(taken, MANY, "line ")


@requires_journald
async def test_what_is_too_much_to_be_kept_goes_to_stderr() -> None:
    with open_journald() as journald:
        async with open_event_journal(journald.socket) as (events, stderr):
            journald.pause()
            put(events, 0, 200, size=2**16)
            early = await read_stderr(stderr)
            journald.resume()
            await events.drain(10)

            assert 50 < len(early) < 100
            assert early == name(200 - len(early), 200, "line ")
            assert journald.read_messages() == name(0, 200 - len(early))


async def test_events_go_to_stderr_where_there_is_no_journald(tmp_path: Path) -> None:
    async with open_event_journal(tmp_path / "missing") as (events, stderr):
        put(events, 0, 3)

        assert await read_stderr(stderr) == name(0, 3, "line ")


async def test_journald_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "missing"
    with structlog.testing.capture_logs() as told:
        async with open_event_journal(path) as (events, _):
            put(events, 0, 3)

    assert told == [
        {
            "event": "sink.failed",
            "log_level": "error",
            "sink": "journald",
            "reason": "it cannot be written: No such file or directory (ENOENT)",
        }
    ]


@requires_journald
async def test_journald_that_stands_still_is_told_and_nothing_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_journal, "_STALL_S", 0.05)
    with open_journald() as journald, structlog.testing.capture_logs() as told:
        async with open_event_journal(journald.socket) as (events, stderr):
            journald.pause()
            put(events, 0, MANY)
            await trio.sleep(0.2)
            before = [event["event"] for event in told]
            journald.resume()
            await events.drain(10)

            assert journald.read_messages() == name(0, MANY)
            assert await read_stderr(stderr) == []
    assert before == ["sink.failed"]
    assert [event["event"] for event in told] == ["sink.failed", "sink.recovered"]


@requires_journald
async def test_word_that_journald_takes_nothing_goes_to_stderr() -> None:
    outage = Outage("journald")
    with open_journald() as journald:
        async with open_event_journal(journald.socket, outage) as (events, stderr):
            outage.is_being_told = True
            put(events, 0, 1)
            outage.is_being_told = False
            put(events, 1, 2)

            assert await read_stderr(stderr) == ["line 0"]
            assert journald.read_messages() == ["1"]


async def test_outage_that_another_way_has_told_is_not_told_again(tmp_path: Path) -> None:
    outage = Outage("journald")
    with structlog.testing.capture_logs() as told:
        outage.begin("another way", "it cannot be written")
        async with open_event_journal(tmp_path / "missing", outage) as (events, stderr):
            put(events, 0, 3)

            assert await read_stderr(stderr) == name(0, 3, "line ")
    assert [event["event"] for event in told] == ["sink.failed"]


@requires_journald
async def test_journald_that_is_back_gets_the_next_event() -> None:
    with open_journald() as journald, structlog.testing.capture_logs() as told:
        async with open_event_journal(journald.socket) as (events, stderr):
            put(events, 0, 1)
            journald.synchronize()
            journald.kill()
            put(events, 1, 2)
            journald.start()
            put(events, 2, 3)

            assert journald.read_messages() == ["0", "2"]
            assert await read_stderr(stderr) == ["line 1"]
    assert [event["event"] for event in told] == ["sink.failed", "sink.recovered"]


@requires_journald
async def test_events_that_wait_go_to_stderr_when_journald_dies() -> None:
    with open_journald() as journald:
        async with open_event_journal(journald.socket) as (events, stderr):
            journald.pause()
            put(events, 0, MANY)
            journald.kill()
            await events.drain(10)

            lines = await read_stderr(stderr)
            assert lines == name(MANY - len(lines), MANY, "line ")
            assert len(lines) > MANY / 2
