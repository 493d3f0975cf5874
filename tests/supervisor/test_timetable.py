"""When a scheduled job is started; time is trio's, and the wall clock is made of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from mocker.isolation import ExitStatus
from mocker.supervisor import lifecycle
from mocker.supervisor.config import JobConfig
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.timetable import run_on_schedule
from tests.supervisor.job_world import configure, make_means

MIDNIGHT = datetime(2026, 5, 1, tzinfo=UTC)
EVERY_MINUTE = "* * * * *"


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


class Clock:
    """A wall clock that can be set."""

    def __init__(self) -> None:
        self._offset = timedelta(seconds=-trio.current_time())

    def read(self) -> datetime:
        return MIDNIGHT + self._offset + timedelta(seconds=trio.current_time())

    def set(self, seconds: float) -> None:
        self._offset += timedelta(seconds=seconds)


class ScheduledJob(Job):
    """A job without containers: each of its runs takes so many seconds."""

    def __init__(self, means: Means, clock: Clock, takes: float, **fields: object) -> None:
        self.starts: list[str] = []
        self._clock, self._takes = clock, takes
        config = configure("", kind="oneshot", **fields)
        super().__init__(config, means, wait_for_nothing, lambda _: None)

    async def run(self) -> None:
        while True:
            while self.life.state is not State.STARTING:
                await self.wait_changed()
            self.starts.append(self._clock.read().strftime("%H:%M:%S"))
            self._become(lifecycle.execute(self.life, trio.current_time()))
            await trio.sleep(self._takes)
            status = ExitStatus(code=0)
            self._become(lifecycle.end_run(self.life, self.config, status, 0.0, 0.0))


async def wait_for_nothing(_: JobConfig) -> str:
    return ""


async def run_for(seconds: float, job: ScheduledJob, schedule: str, clock: Clock) -> list[str]:
    """Let time pass, and return when the job was started."""
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(job.run)
            nursery.start_soon(run_on_schedule, job, schedule, clock.read)
    return job.starts


async def suspend_later(seconds: float, job: Job, is_suspended: bool) -> None:
    await trio.sleep(seconds)
    job.is_suspended = is_suspended


async def test_job_runs_at_its_times(means: Means, autojump_clock: MockClock) -> None:
    clock = Clock()

    starts = await run_for(185, ScheduledJob(means, clock, 1), EVERY_MINUTE, clock)

    assert starts == ["00:01:00", "00:02:00", "00:03:00"]


@pytest.mark.parametrize("overlap", ["skip", "queue"])
async def test_times_pass_while_it_is_suspended(
    means: Means, autojump_clock: MockClock, overlap: str
) -> None:
    clock = Clock()
    job = ScheduledJob(means, clock, 1, overlap=overlap)
    job.is_suspended = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(suspend_later, 150, job, False)
        starts = await run_for(245, job, EVERY_MINUTE, clock)

    assert (starts, job.skips) == (["00:03:00", "00:04:00"], 0)


async def test_time_that_waits_for_its_run_is_gone_once_it_is_suspended(
    means: Means, autojump_clock: MockClock
) -> None:
    clock = Clock()
    job = ScheduledJob(means, clock, 100, overlap="queue")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(suspend_later, 130, job, True)
        starts = await run_for(400, job, EVERY_MINUTE, clock)

    assert starts == ["00:01:00"]


async def test_seconds_can_be_asked_for(means: Means, autojump_clock: MockClock) -> None:
    clock = Clock()

    starts = await run_for(35, ScheduledJob(means, clock, 1), "*/15 * * * * *", clock)

    assert starts == ["00:00:15", "00:00:30"]


async def test_time_at_which_the_former_run_goes_on_is_skipped(
    means: Means, autojump_clock: MockClock
) -> None:
    clock = Clock()
    job = ScheduledJob(means, clock, 90)

    with capture_logs() as events:
        starts = await run_for(305, job, EVERY_MINUTE, clock)

    assert starts == ["00:01:00", "00:03:00", "00:05:00"]
    assert [(event["event"], event["count"]) for event in events] == [
        ("job.skipped", 1),
        ("job.skipped", 2),
    ]
    assert job.skips == 2


async def test_time_at_which_the_former_run_goes_on_is_queued_if_asked_for(
    means: Means, autojump_clock: MockClock
) -> None:
    clock = Clock()
    job = ScheduledJob(means, clock, 90, overlap="queue")

    starts = await run_for(305, job, EVERY_MINUTE, clock)

    assert starts == ["00:01:00", "00:02:30", "00:04:00"]


async def test_clock_that_is_set_forward_makes_up_for_what_it_jumped_over_once(
    means: Means, autojump_clock: MockClock
) -> None:
    clock = Clock()
    job = ScheduledJob(means, clock, 1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_for, 170, job, EVERY_MINUTE, clock)
        await trio.sleep(70)
        clock.set(3600)

    # At the next look, half a minute later at most.
    assert job.starts == ["00:01:00", "01:01:30", "01:02:00"]


async def test_clock_that_is_set_back_a_little_runs_no_time_twice(
    means: Means, autojump_clock: MockClock
) -> None:
    clock = Clock()
    job = ScheduledJob(means, clock, 1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_for, 3600, job, "0 * * * * *", clock)
        await trio.sleep(130)
        clock.set(-60)

    assert job.starts[:3] == ["00:01:00", "00:02:00", "00:03:00"]


async def test_clock_that_is_set_back_by_days_is_followed(
    means: Means, autojump_clock: MockClock
) -> None:
    clock = Clock()
    job = ScheduledJob(means, clock, 1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_for, 300, job, EVERY_MINUTE, clock)
        await trio.sleep(130)
        clock.set(-timedelta(days=3).total_seconds())

    assert len(job.starts) >= 4
