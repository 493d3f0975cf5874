import structlog
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from mocker.supervisor.outage import Outage


async def test_outage_is_told_once_however_many_ways_find_it(autojump_clock: MockClock) -> None:
    outage = Outage("journald", path="/run/socket")

    with capture_logs() as told:
        outage.begin("lines", "it cannot be written")
        await trio.sleep(2)
        outage.begin("events", "it cannot be written either")
        outage.begin("lines", "it cannot be written")
        outage.end("events")
        outage.end("lines")

    facts = {"sink": "journald", "path": "/run/socket"}
    reason = "it cannot be written"
    assert told == [
        {"event": "sink.failed", "log_level": "error", **facts, "reason": reason},
        {"event": "sink.recovered", "log_level": "info", **facts, "after_s": 2},
    ]


async def test_way_that_does_not_work_when_another_does_again_is_told_anew() -> None:
    outage = Outage("journald")
    outage.begin("lines", "it cannot be written")
    outage.begin("events", "it cannot be written")
    outage.end("events")

    with capture_logs() as told:
        outage.begin("lines", "there is no memory")

    assert [event["reason"] for event in told] == ["there is no memory"]


async def test_way_that_always_worked_ends_no_outage() -> None:
    outage = Outage("journald")
    outage.begin("lines", "there is no memory")

    with capture_logs() as told:
        outage.end("events")

    assert told == []


async def test_outage_is_being_told_while_it_is_said_that_it_begins() -> None:
    outage = Outage("journald")
    seen = []

    def look(_logger: object, _method: str, event: structlog.typing.EventDict) -> str:
        seen.append((event["event"], outage.is_being_told))
        raise structlog.DropEvent

    structlog.configure(processors=[look])
    try:
        outage.begin("lines", "it cannot be written")
        outage.end("lines")
    finally:
        structlog.reset_defaults()

    assert seen == [("sink.failed", True), ("sink.recovered", False)]
