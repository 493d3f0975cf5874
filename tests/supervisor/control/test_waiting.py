import math
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from mocker.supervisor.config import JobConfig
from mocker.supervisor.control.problems import RequestError
from mocker.supervisor.control.waiting import take_condition, take_timeout, wait_for_jobs
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.job_world import configure, make_means, wait_for_line
from tests.supervisor.test_supervise import Run

pytestmark = [requires_user_namespaces, requires_busybox]

SLEEP = "exec sleep 1000"
NEVER_READY = {"name": "web", **wait_for_line("ready")}
Told = list[tuple[object, object, object]]


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


@asynccontextmanager
async def supervising(means: Means, *jobs: JobConfig) -> AsyncIterator[Run]:
    """Supervise jobs for the length of a block; one more keeps the supervisor alive."""
    run = Run(means, *jobs, configure(SLEEP, name="other"))
    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("other", State.RUNNING)
        yield run
        run.send(signal.SIGTERM)


async def wait(run: Run, condition: str, *names: str, seconds: float = math.inf) -> Told:
    """Return what is told of jobs: the name of each, what it is, and why not."""
    told: list[Mapping[str, object]] = []

    async def tell(values: Mapping[str, object]) -> None:
        await trio.lowlevel.checkpoint()
        told.append(values)

    jobs = [run.supervisor.jobs[name] for name in names]
    await wait_for_jobs(run.supervisor, jobs, condition, seconds, tell)
    return [(line["job"], line["outcome"], line["reason"]) for line in told]


async def test_job_is_told_once_it_is_ready(means: Means) -> None:
    script = f"sleep 0.1; echo ready; {SLEEP}"

    async with supervising(means, configure(script, **NEVER_READY)) as run:
        told = await wait(run, "ready", "web", "other")

    assert told == [("other", "ready", ""), ("web", "ready", "")]


async def test_job_has_completed_once_it_has_ended_well(means: Means) -> None:
    batch = configure("sleep 0.1", name="batch", kind="oneshot", restart="never")

    async with supervising(means, batch) as run:
        told = await wait(run, "completed", "batch")

    assert told == [("batch", "completed", "")]


async def test_job_is_stopped_once_nothing_of_it_is_left(means: Means) -> None:
    async with supervising(means, configure(SLEEP, name="web")) as run:
        await run.reach("web", State.RUNNING)
        run.supervisor.jobs["web"].stop()
        told = await wait(run, "stopped", "web")
        state = run.supervisor.jobs["web"].life.state

    assert (told, state) == ([("web", "stopped", "")], State.STOPPED)


async def test_first_job_that_will_never_be_so_ends_the_wait(means: Means) -> None:
    bad = configure("exit 3", name="bad", restart="never")

    async with supervising(means, bad, configure(SLEEP, **NEVER_READY)) as run:
        told = await wait(run, "completed", "web", "bad")

    assert told == [("bad", "not completed", "it is EXITED: exit code 3")]


async def test_job_that_is_stopped_meanwhile_will_not_be_ready(means: Means) -> None:
    web = configure(SLEEP, **NEVER_READY)

    async with supervising(means, web) as run, trio.open_nursery() as nursery:

        async def stop() -> None:
            await trio.testing.wait_all_tasks_blocked()
            run.supervisor.jobs["web"].stop()

        nursery.start_soon(stop)
        ((name, outcome, reason),) = await wait(run, "ready", "web")

    assert (name, outcome) == ("web", "not ready")
    assert str(reason).startswith("it is STOPPED")


async def test_end_of_the_time_is_told_of_all_that_are_not_so(
    means: Means, autojump_clock: MockClock
) -> None:
    async with supervising(means, configure(SLEEP, **NEVER_READY)) as run:
        began = trio.current_time()
        told = await wait(run, "ready", "web", "other", seconds=30)
        took = trio.current_time() - began

    late = ("web", "not ready", "the time is over, it is STARTING")
    assert (told, round(took)) == ([("other", "ready", ""), late], 30)


async def test_without_any_time_what_is_so_is_told(means: Means) -> None:
    async with supervising(means, configure(SLEEP, **NEVER_READY)) as run:
        told = await wait(run, "ready", "web", "other", seconds=0)

    assert [outcome for _, outcome, _ in told] == ["ready", "not ready"]


async def test_scheduled_job_that_fails_is_waited_for_until_it_ends_well(
    means: Means, autojump_clock: MockClock
) -> None:
    script = "test -e /tmp/done && exit 0; exit 1"
    fields = {"kind": "oneshot", "schedule": "* * * * * *", "restart": "never", "name": "clock"}

    async with supervising(means, configure(script, **fields)) as run:
        await run.reach("clock", State.EXITED)
        told = await wait(run, "completed", "clock", seconds=5)
        run.supervisor.jobs["clock"].retire()
        never = await wait(run, "completed", "clock")

    assert told[0][1:2] == ("not completed",)
    assert "the time is over" in str(told[0][2])
    assert never[0][1] == "not completed"


async def test_job_that_a_reload_replaces_is_waited_for(means: Means) -> None:
    other = configure(SLEEP, name="other")

    async with supervising(means, configure(SLEEP, **NEVER_READY)) as run:
        await run.reach("web", State.STARTING)
        async with trio.open_nursery() as nursery:
            told: list[Told] = []

            async def look() -> None:
                told.append(await wait(run, "ready", "web"))

            nursery.start_soon(look)
            await trio.testing.wait_all_tasks_blocked()
            run.rewrite(configure(f"echo ready; {SLEEP}", **NEVER_READY), other)

    assert told == [[("web", "ready", "")]]


async def test_job_that_a_reload_removes_will_not_be_ready(means: Means) -> None:
    clock = configure(SLEEP, name="clock", schedule="0 0 1 1 *")

    async with supervising(means, clock) as run, trio.open_nursery() as nursery:
        told: list[Told] = []

        async def look() -> None:
            told.append(await wait(run, "ready", "clock"))

        nursery.start_soon(look)
        await trio.testing.wait_all_tasks_blocked()
        run.rewrite(configure(SLEEP, name="other"))

    assert told == [[("clock", "not ready", "it is STOPPED")]]


async def test_end_of_the_supervisor_ends_the_wait(means: Means) -> None:
    async with supervising(means, configure(SLEEP, **NEVER_READY)) as run:
        run.send(signal.SIGTERM)
        ((_, outcome, _),) = await wait(run, "ready", "web")

    assert outcome == "not ready"


@pytest.mark.parametrize(
    ("values", "condition"), [({}, "ready"), ({"for": "completed"}, "completed")]
)
def test_condition_is_that_of_the_body(values: dict[str, object], condition: str) -> None:
    assert take_condition(values) == condition


@pytest.mark.parametrize("condition", ["started", "", None, 1, [], {}])
def test_unknown_condition_is_refused(condition: object) -> None:
    with pytest.raises(RequestError, match="'for' must be one of ready, completed, stopped"):
        take_condition({"for": condition})


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, math.inf), (0, 0.0), (1.5, 1.5), (10**400, 315360000.0)]
)
def test_time_is_in_seconds(value: object, seconds: float) -> None:
    assert take_timeout({"timeout_s": value}) == seconds


@pytest.mark.parametrize("value", [-1, math.nan, True, "10s", [], {}])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(RequestError, match="'timeout_s' is no number of seconds"):
        take_timeout({"timeout_s": value})
