"""What a signal makes the supervisor say of jobs that need no container for it."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from mocker.isolation import ExitStatus
from mocker.supervisor import lifecycle
from mocker.supervisor.config import JobConfig
from mocker.supervisor.job_states import tell_states
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import Life, State
from tests.supervisor.job_world import configure, make_means


async def wait_for_nothing(_: JobConfig) -> str:
    return ""


def make_running(job: Job) -> None:
    job.life = lifecycle.become_ready(lifecycle.execute(lifecycle.ask_start(Life()), 0.0), 0.0)
    job.pid = 12
    job.notice.status = "at work"


def make_given_up(job: Job) -> None:
    job.life = Life(state=State.FATAL, attempt=3, reason="it failed 3 times")
    job.status = ExitStatus(code=4)


def make_waiting(job: Job) -> None:
    job.life = Life(state=State.BACKOFF, attempt=1)


@pytest.mark.parametrize(
    ("make", "facts"),
    [
        (make_running, {"state": "RUNNING", "pid": 12, "attempt": 1, "status": "at work"}),
        (make_given_up, {"state": "FATAL", "last": "exit code 4", "reason": "it failed 3 times"}),
        (make_waiting, {"state": "BACKOFF"}),
    ],
)
async def test_state_is_told_with_what_belongs_to_it(
    make: Callable[[Job], None], facts: dict[str, object]
) -> None:
    with make_means() as means:
        job = Job(configure("true"), means, wait_for_nothing, lambda _: None)
        make(job)

        with capture_logs() as events:
            tell_states({"web": job})

    (event,) = events
    times = {event.pop(key, 0.0) for key in ("uptime_s", "delay_s")}
    assert event == {"event": "job.state", "log_level": "info", "job": "web", **facts}
    assert all(isinstance(time, float) for time in times)
