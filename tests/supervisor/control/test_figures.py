"""What is seen of the jobs of a supervisor, in this process; `end_to_end` has the command."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio

from mocker.isolation.cgroups import Usage
from mocker.supervisor.config import SupervisorConfig
from mocker.supervisor.control.figures import Figures, _find_use, describe_figures, describe_use
from mocker.supervisor.control.usage import Use
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.supervise import Supervisor
from tests.cgroups import KINDS_OF_PRESSURE
from tests.requirements import requires_busybox, requires_root, requires_user_namespaces
from tests.supervisor.cgroup_world import make_means_with_cgroups
from tests.supervisor.job_world import configure, make_means, reach, surroundings, wait_for_line

pytestmark = [requires_user_namespaces, requires_busybox]

SPIN = "echo ready; while :; do :; done"
SLEEP = "sleep 1000 & echo ready; wait"
STALE_S = 0.6  # after which there is another look; CPU time passes by no other clock


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


@asynccontextmanager
async def open_figures(means: Means, script: str) -> AsyncIterator[tuple[Figures, Job]]:
    """Look at a job that runs, and is ready."""
    config = configure(script, **wait_for_line("ready"))
    file = SupervisorConfig(path="/jobs.toml", name="jobs", jobs={config.name: config})
    supervisor = Supervisor(file, means, lambda: file, _abandon)
    async with surroundings(means) as nursery:
        nursery.start_soon(supervisor.run, _no_signals())
        await trio.testing.wait_all_tasks_blocked()
        job = supervisor.jobs[config.name]
        await reach(job, State.RUNNING)
        yield Figures(supervisor), job
        supervisor.end("the test ends", 0)
        await job.wait_at_rest()


async def _abandon(_: int) -> None:
    raise AssertionError("the supervisor did not end in order")


async def _no_signals() -> AsyncIterator[int]:
    await trio.sleep_forever()
    yield 0


async def test_processes_of_a_job_are_seen(means: Means) -> None:
    async with open_figures(means, SLEEP) as (figures, job):
        described = describe_use(job, await figures.look())

    assert described["processes"] == 2
    assert isinstance(described["memory_bytes"], int)
    assert described["memory_bytes"] > 0


@pytest.mark.slow
async def test_share_of_the_processor_is_since_the_last_look(means: Means) -> None:
    async with open_figures(means, SPIN) as (figures, job):
        before = after = describe_use(job, await figures.look())
        while after["cpu_s"] == before["cpu_s"]:  # others may have the processors
            await trio.sleep(STALE_S)
            after = describe_use(job, await figures.look())

    spent = after["cpu_s"] - before["cpu_s"]  # type: ignore[operator]
    assert 0 < after["cpu_percent"] <= 100 * spent / STALE_S + 5  # type: ignore[operator]


@requires_root
async def test_cgroup_is_asked_where_there_is_one() -> None:
    with make_means_with_cgroups() as means:
        async with open_figures(means, SLEEP) as (figures, job):
            seen = await figures.look()
            described = describe_figures(job, seen, 12)

    assert job.pid is None
    (one,) = seen.values()
    assert one.usage is not None
    assert one.usage.cpu_s > 0
    assert described["pressure"] == one.usage.pressure
    assert one.usage.pressure.keys() == KINDS_OF_PRESSURE
    # Where its cgroup does not count them, its processes are looked at.
    assert isinstance(described["memory_bytes"], int)


def test_what_a_cgroup_tells_leaves_the_init_out() -> None:
    assert _find_use(Usage(memory=4096, pids=3, cpu_s=1.5)) == Use(1.5, 4096, 2)
    assert _find_use(Usage(memory=4096, cpu_s=1.5)) is None


async def test_fresh_look_serves_the_next_one_who_asks(means: Means) -> None:
    async with open_figures(means, SLEEP) as (figures, _):
        first = await figures.look()

        assert await figures.look() is first


async def test_fresh_look_is_told_without_a_turn(means: Means) -> None:
    async with open_figures(means, SLEEP) as (figures, _):
        first = await figures.look()

        async with figures._looking:
            assert await figures.look() is first


async def test_those_who_ask_at_once_share_a_look(means: Means) -> None:
    seen = []

    async with open_figures(means, SLEEP) as (figures, _):

        async def look() -> None:
            seen.append(await figures.look())

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(look)

    assert all(one is seen[0] for one in seen)


async def test_job_without_processes_uses_nothing(means: Means) -> None:
    async with open_figures(means, SLEEP) as (figures, job):
        seen = await figures.look()
        job.stop()
        await job.wait_at_rest()

        described = describe_figures(job, seen, 12)

    assert described == {
        "name": "web",
        "state": "STOPPED",
        "pid": None,
        "cpu_percent": None,
        "cpu_s": None,
        "memory_bytes": None,
        "processes": None,
        "memory_limit_bytes": None,
        "memory_peak_bytes": None,
        "oom_kills": 0,
        "pressure": {},
        "output_bytes": len("ready\n"),
        "output_lines": 1,
        "output_lines_exact": True,
        "restarts": 12,
        "skips": 0,
    }
