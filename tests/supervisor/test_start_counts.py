import gc
from collections.abc import Iterator
from weakref import ref

import pytest
from trio.testing import MockClock

from mocker.supervisor.config import ContainerConfig
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.start_counts import StartCounts
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.job_world import configure, make_means, reach, surroundings

pytestmark = [requires_user_namespaces, requires_busybox]


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


def make_job(means: Means, counts: StartCounts, script: str, **fields: object) -> Job:
    async def pass_gate(_: object) -> str:
        return ""

    return Job(configure(script, **fields), means, pass_gate, counts.see)


async def test_starts_are_counted_however_often_somebody_asks(means: Means) -> None:
    counts = StartCounts()
    job = make_job(means, counts, "exec sleep 1000")

    async with surroundings(means) as nursery:
        nursery.start_soon(job.run)
        for _ in range(3):
            job.stop()
            job.start()
            await reach(job, State.RUNNING)
        job.stop()
        await job.wait_at_rest()
        nursery.cancel_scope.cancel()

    assert (counts.find(job).starts, counts.find(job).restarts) == (3, 0)


async def test_restarts_are_those_starts_that_nobody_asked_for(
    means: Means, autojump_clock: MockClock
) -> None:
    counts = StartCounts()
    job = make_job(means, counts, "exit 1")

    async with surroundings(means) as nursery:
        nursery.start_soon(job.run)
        job.start()
        while counts.find(job).starts < 3:
            await job.wait_changed()
        job.stop()
        await job.wait_at_rest()
        nursery.cancel_scope.cancel()

    assert (counts.find(job).starts, counts.find(job).restarts) == (3, 2)


async def test_command_that_is_not_there_is_no_start(means: Means) -> None:
    counts = StartCounts()
    nothing = ContainerConfig(argv=("none",), rootfs="busybox", hostname="web")
    job = make_job(means, counts, "", restart="never", container=nothing)

    async with surroundings(means) as nursery:
        nursery.start_soon(job.run)
        job.start()
        await job.wait_at_rest()
        nursery.cancel_scope.cancel()

    assert counts.find(job).starts == 0


def test_job_that_is_gone_is_forgotten(means: Means) -> None:
    counts = StartCounts()
    job = make_job(means, counts, "true")
    counts.see(job)
    gone = ref(job)

    del job
    gc.collect()

    assert gone() is None
