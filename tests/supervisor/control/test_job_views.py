"""A job as plain values."""

import json
import math
from collections.abc import Iterator

import pytest

from mocker.supervisor.config import Probe
from mocker.supervisor.control.job_views import describe_job, is_well
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from tests.supervisor.control.control_world import Puppet
from tests.supervisor.job_world import make_means

TCP = Probe(kind="tcp", target=80)


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


@pytest.mark.parametrize("state", State)
async def test_every_state_can_be_told_as_json(means: Means, state: State) -> None:
    job = Puppet(means)
    job.bring(state)

    described = describe_job(job, 0.0, 0)

    assert described["state"] == state.value
    assert json.loads(json.dumps(described, allow_nan=False)) == described


async def test_uptime_is_that_of_the_present_run(means: Means) -> None:
    job = Puppet(means)
    job.bring(State.RUNNING)
    job.pid = 42
    assert job.life.began is not None

    running = describe_job(job, job.life.began + 3, 0)
    job.pid = None

    assert (running["pid"], running["uptime_s"]) == (42, 3.0)
    assert describe_job(job, job.life.began + 3, 0)["uptime_s"] is None


async def test_restarts_are_told_as_they_are_counted(means: Means) -> None:
    assert describe_job(Puppet(means), 0.0, 12)["restarts"] == 12


async def test_job_that_is_paused_is_not_well(means: Means) -> None:
    job = Puppet(means)
    job.bring(State.RUNNING)
    before = is_well(job)

    job.pause.is_on = True

    assert (before, is_well(job), describe_job(job, 0.0, 0)["paused"]) == (True, False, True)


async def test_wait_before_the_next_run_is_counted_down(means: Means) -> None:
    job = Puppet(means)
    job.bring(State.BACKOFF)

    at_first = describe_job(job, job.life.retry_at - 0.4, 0)
    too_late = describe_job(job, job.life.retry_at + 0.4, 0)

    assert (at_first["retry_in_s"], too_late["retry_in_s"]) == (0.4, 0.0)


async def test_job_that_is_never_killed_has_no_time_for_that(means: Means) -> None:
    job = Puppet(means)
    job.kill_at = math.inf

    assert describe_job(job, 0.0, 0)["killed_in_s"] is None


async def test_last_exit_is_told(means: Means) -> None:
    job = Puppet(means)
    job.bring(State.BACKOFF)

    assert describe_job(job, 0.0, 0)["last_exit"] == "exit code 1"


@pytest.mark.parametrize(
    ("state", "well"),
    [
        (State.STOPPED, False),
        (State.STARTING, False),
        (State.RUNNING, True),
        (State.BACKOFF, False),
        (State.STOPPING, False),
        (State.EXITED, True),
        (State.FATAL, False),
    ],
)
async def test_job_is_well_that_runs_or_has_ended_well(
    means: Means, state: State, well: bool
) -> None:
    job = Puppet(means)
    job.bring(state)

    assert is_well(job) is well


async def test_job_that_waits_for_its_time_is_well(means: Means) -> None:
    job = Puppet(means, schedule="@daily")

    assert is_well(job)


async def test_job_whose_schedule_is_stopped_is_not_well_and_says_so(means: Means) -> None:
    job = Puppet(means, schedule="@daily")
    job.is_suspended = True

    described = describe_job(job, 0.0, 0)

    assert described["is_well"] is False
    assert described["reason"] == "its schedule is stopped; 'mocker start web' ends that"


@pytest.mark.parametrize("state", [State.BACKOFF, State.FATAL])
async def test_job_that_cannot_be_started_says_why(means: Means, state: State) -> None:
    job = Puppet(means)
    job.bring(state)
    job.reports.refusal = "cannot execute 'nosuch'"

    described = describe_job(job, 0.0, 0)

    assert described["reason"] == "cannot execute 'nosuch'"


@pytest.mark.parametrize(
    ("state", "ready", "alive", "health"),
    [
        (State.RUNNING, None, None, None),
        (State.RUNNING, TCP, None, "ready"),
        (State.RUNNING, TCP, TCP, "healthy"),
        (State.STARTING, TCP, None, "starting"),
        (State.BACKOFF, TCP, TCP, None),
    ],
)
async def test_health_is_what_the_probes_say(
    means: Means, state: State, ready: Probe | None, alive: Probe | None, health: str | None
) -> None:
    job = Puppet(means, ready=ready, alive=alive)
    job.bring(state)

    assert describe_job(job, 0.0, 0)["health"] == health
