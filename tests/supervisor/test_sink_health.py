import errno

import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from mocker.supervisor.outage import Outage
from mocker.supervisor.sink_health import SinkHealth, render_error


async def test_failure_is_told_once_and_so_is_its_end(autojump_clock: MockClock) -> None:
    health = SinkHealth("logs/web.log")
    with capture_logs() as events:
        health.note_success(None)
        health.note_failure("it is broken")
        health.note_failure("it is broken in another way")
        was_failing = health.is_failing
        autojump_clock.jump(2.5)
        health.note_success(None)
        health.note_success(None)

    assert was_failing
    assert not health.is_failing
    assert [(event["event"], event["sink"]) for event in events] == [
        ("sink.failed", "logs/web.log"),
        ("sink.recovered", "logs/web.log"),
    ]
    assert (events[0]["reason"], events[1]["after_s"]) == ("it is broken", 2.5)


async def test_failure_is_told_anew_if_another_way_said_too_early_that_it_is_over() -> None:
    outage = Outage("journald")
    health = SinkHealth("journald", outage)
    with capture_logs() as events:
        outage.begin("another way", "it is broken")
        health.note_failure("it is broken")
        outage.end("another way")
        health.note_failure("it is broken in a way of its own")
        health.note_success(None)

    names = [event["event"].removeprefix("sink.") for event in events]
    assert names == ["failed", "recovered", "failed", "recovered"]


async def test_each_new_trouble_is_told_once() -> None:
    health = SinkHealth("logs/web.log")
    read_only, full = OSError(errno.EROFS, ""), OSError(errno.ENOSPC, "")
    with capture_logs() as events:
        for trouble in (read_only, read_only, full, None, full):
            health.note_success(trouble)

    assert [event["reason"] for event in events] == [
        render_error(error) for error in (read_only, full, full)
    ]


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "it cannot be written: No space left on device (ENOSPC)"),
        (0, "it cannot be written"),
    ],
)
def test_error_is_rendered(number: int, sentence: str) -> None:
    assert render_error(OSError(number, "")) == sentence
