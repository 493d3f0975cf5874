"""How long the start of jobs is waited for."""

from collections.abc import Iterator, Mapping

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.supervisor.control.first_starts import wait_started
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from tests.supervisor.control.control_world import Puppet
from tests.supervisor.job_world import make_means


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


async def time_wait(jobs: Mapping[str, Puppet]) -> float:
    began = trio.current_time()
    await wait_started(jobs)
    return trio.current_time() - began


async def test_each_job_is_waited_for_whatever_becomes_of_its_start(means: Means) -> None:
    jobs = {name: Puppet(means, name) for name in ("web", "bad", "off")}
    for job in jobs.values():
        job.bring(State.STARTING)
    waited = list[str]()

    with trio.fail_after(2):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                await wait_started(jobs)
                waited.append("all")

            nursery.start_soon(wait)
            for name, happen in {
                "web": jobs["web"].become_ready,
                "bad": jobs["bad"].end,
                "off": jobs["off"].stop,
            }.items():
                await wait_all_tasks_blocked()
                waited.append(name)
                happen()

    assert waited == ["web", "bad", "off", "all"]


async def test_who_waits_for_another_one_is_waited_for_once_that_is_started(means: Means) -> None:
    web, db = Puppet(means, "web", {"db": "started"}), Puppet(means, "db")
    for job in (web, db):
        job.bring(State.STARTING)
    waited = list[str]()

    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            await wait_started({"web": web, "db": db})
            waited.append("all")

        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        db.become_ready()
        await wait_all_tasks_blocked()
        waited.append("db")
        web.become_ready()

    assert waited == ["db", "all"]


@pytest.mark.parametrize("state", [state for state in State if state is not State.STARTING])
async def test_job_that_is_not_about_to_start_is_not_waited_for(
    means: Means, autojump_clock: MockClock, state: State
) -> None:
    job = Puppet(means, "web")
    job.bring(state)

    assert await time_wait({"web": job}) == 0


async def test_job_that_waits_for_another_one_is_not_waited_for(
    means: Means, autojump_clock: MockClock
) -> None:
    web, db = Puppet(means, "web", {"db": "completed"}), Puppet(means, "db")
    web.bring(State.STARTING)
    db.bring(State.RUNNING)

    assert await time_wait({"web": web, "db": db}) == 0


async def test_start_that_hangs_is_waited_for_some_seconds(
    means: Means, autojump_clock: MockClock
) -> None:
    job = Puppet(means, "web")
    job.bring(State.STARTING)

    assert await time_wait({"web": job}) == pytest.approx(5)
