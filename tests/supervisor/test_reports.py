"""What is said about the end of a run; the rest is in `test_jobs`."""

import attrs
import pytest
from structlog.testing import capture_logs

from mocker.isolation import ExitStatus, SetupError
from mocker.isolation.cgroups import Usage
from mocker.supervisor.lifecycle import After, Life, State
from mocker.supervisor.line_ring import RingSpace
from mocker.supervisor.lines import Lines, Source
from mocker.supervisor.reports import RunReports
from tests.supervisor.job_world import configure

RUNNING = Life(state=State.RUNNING, attempt=1, began=1.0, ready_at=1.0)
OVER = attrs.evolve(RUNNING, state=State.EXITED)
ENDED, FAILED, KILLED = ExitStatus(code=0), ExitStatus(code=3), ExitStatus(signal=9)
SPACE = RingSpace()


def make_reports(*lines: str) -> RunReports:
    """Return those of a job whose last run has said these lines."""
    ring = SPACE.make_ring()
    reports = RunReports("web", ring)
    if lines:
        reports.pid = 7
        text = "".join(f"{line}\n" for line in lines)
        ring.add(Lines(Source("web", "stdout", 7, 1), text.encode(), (), 0))
    return reports


def test_run_that_was_out_of_memory_is_told_with_the_most_that_it_had() -> None:
    reports = make_reports()
    reports.usage = Usage(oom_kills=2, memory_peak=4096)

    with capture_logs() as events:
        reports.tell_end(configure("true"), RUNNING, OVER, KILLED, 3.0)

    assert events == [
        {
            "event": "job.exited",
            "log_level": "warning",
            "job": "web",
            "signal": "SIGKILL",
            "uptime_s": 2.0,
            "next": "nothing",
            "oom_killed": True,
            "memory_peak_bytes": 4096,
        }
    ]


def test_other_ends_say_nothing_of_memory() -> None:
    with capture_logs() as events:
        make_reports().tell_end(configure("true"), RUNNING, OVER, KILLED, 3.0)

    assert "oom_killed" not in events[0]


@pytest.mark.parametrize(
    ("life", "status", "ended", "shown"),
    [
        (RUNNING, FAILED, 10.9, True),
        (RUNNING, FAILED, 11.0, False),
        (RUNNING, KILLED, 1.0, True),
        (RUNNING, ENDED, 1.0, False),
        (attrs.evolve(RUNNING, state=State.STOPPING), FAILED, 1.0, False),
        (attrs.evolve(RUNNING, state=State.STOPPING, after=After.FAILURE), FAILED, 1.0, True),
        (attrs.evolve(RUNNING, state=State.STARTING, ready_at=None), FAILED, 99.0, True),
    ],
)
def test_last_lines_are_those_of_a_run_that_failed_soon(
    life: Life, status: ExitStatus, ended: float, shown: bool
) -> None:
    reports = make_reports("too", "fast")

    with capture_logs() as events:
        reports.tell_end(configure("true"), life, OVER, status, ended)

    (event,) = events
    assert event.get("last_lines") == (["too", "fast"] if shown else None)


def test_last_lines_of_what_is_given_up_are_shown_once() -> None:
    life = attrs.evolve(RUNNING, state=State.FATAL, reason="no")

    with capture_logs() as events:
        make_reports("fast").tell_end(configure("true"), RUNNING, life, FAILED, 1.0)

    assert [(event["event"], event.get("last_lines")) for event in events] == [
        ("job.exited", None),
        ("job.given_up", ["fast"]),
    ]


def test_refusal_is_told_with_what_follows() -> None:
    life = Life(state=State.FATAL, reason="no", attempt=1)

    with capture_logs() as events:
        reports = make_reports()
        reports.tell_refusal(attrs.evolve(RUNNING, state=State.STARTING), life, SetupError("go"), 3)

    assert [(e["event"], e.get("reason")) for e in events] == [
        ("job.start_failed", "cannot go"),
        ("job.given_up", "no"),
    ]
