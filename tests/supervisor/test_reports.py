"""What is said about the end of a run; the rest is in `test_jobs`."""

import attrs
from structlog.testing import capture_logs

from mocker.isolation import ExitStatus, SetupError
from mocker.isolation.cgroups import Usage
from mocker.supervisor.lifecycle import Life, State
from mocker.supervisor.line_ring import RingSpace
from mocker.supervisor.reports import RunReports
from tests.supervisor.job_world import configure

RUNNING = Life(state=State.RUNNING, attempt=1, began=1.0, ready_at=1.0)
OVER = attrs.evolve(RUNNING, state=State.EXITED)
KILLED = ExitStatus(signal=9)


def make_reports() -> RunReports:
    return RunReports("web", RingSpace().make_ring())


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


def test_refusal_is_told_with_what_follows() -> None:
    life = Life(state=State.FATAL, reason="no", attempt=1)

    with capture_logs() as events:
        reports = make_reports()
        reports.tell_refusal(attrs.evolve(RUNNING, state=State.STARTING), life, SetupError("go"), 3)

    assert [(e["event"], e.get("reason")) for e in events] == [
        ("job.start_failed", "cannot go"),
        ("job.given_up", "no"),
    ]
