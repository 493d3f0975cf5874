"""What many ask for within a moment."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from mocker.isolation import ExitStatus
from mocker.supervisor.control.figures import Seen, describe_use
from mocker.supervisor.control.job_views import describe_job
from mocker.supervisor.control.recent_views import RecentViews
from mocker.supervisor.control.usage import Use
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.start_counts import StartCounts
from tests.supervisor.control.control_world import Puppet
from tests.supervisor.job_world import make_means


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


async def run(means: Means, name: str) -> Puppet:
    job = Puppet(means, name)
    job.bring(State.RUNNING)
    job.pid = 42
    return job


def look(
    views: RecentViews, now: float, *jobs: Puppet, seen: Mapping[int, Seen] | None = None
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(views.render(jobs, now, seen))["jobs"]
    return found


async def test_text_is_that_of_all_jobs(means: Means) -> None:
    jobs = [await run(means, name) for name in ("web", "db")]

    assert look(RecentViews(StartCounts()), 5, *jobs) == [describe_job(job, 5, 0) for job in jobs]


async def test_text_is_the_same_for_a_moment_alone(means: Means) -> None:
    job, views = await run(means, "web"), RecentViews(StartCounts())
    assert job.life.began is not None
    began = job.life.began

    seen = [look(views, began + after, job)[0]["uptime_s"] for after in (5, 5.005, 5.5)]

    assert seen == [5, 5, 5.5]


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job.stop(),
        lambda job: job.end(3),
        lambda job: setattr(job, "pid", 43),
        lambda job: setattr(job, "kill_at", 9),
        lambda job: setattr(job.notice, "status", "warming up"),
        lambda job: setattr(job.pause, "is_on", True),
    ],
    ids=["state", "end", "pid", "kill_at", "status", "pause"],
)
async def test_change_is_seen_at_once(means: Means, change: Callable[[Puppet], None]) -> None:
    job, views = await run(means, "web"), RecentViews(StartCounts())
    look(views, 5, job)

    change(job)

    assert look(views, 5, job) == [describe_job(job, 5, 0)]


async def test_restarts_are_those_that_were_counted(means: Means) -> None:
    job, counts = await run(means, "web"), StartCounts()
    counts.find(job).restarts = 12

    assert look(RecentViews(counts), 5, job)[0]["restarts"] == 12


async def test_use_is_told_to_those_who_ask_for_it(means: Means) -> None:
    job, views = await run(means, "web"), RecentViews(StartCounts())
    seen = {42: Seen(Use(1.5, 4096, 2), 12.5)}

    told = [look(views, 5, job, seen=seen) for seen in (seen, None)]

    assert told == [[describe_job(job, 5, 0) | describe_use(job, seen)], [describe_job(job, 5, 0)]]


async def test_another_look_at_what_is_used_is_told_at_once(means: Means) -> None:
    job, views = await run(means, "web"), RecentViews(StartCounts())
    looks = [{42: Seen(Use(cpu_s, 4096, 2), 12.5)} for cpu_s in (1.5, 2.5)]

    told = [look(views, 5, job, seen=seen)[0]["cpu_s"] for seen in looks]

    assert told == [1.5, 2.5]


async def test_other_jobs_are_others_though_they_are_alike(means: Means) -> None:
    web, db, views = await run(means, "web"), await run(means, "db"), RecentViews(StartCounts())
    db.life = web.life

    names = [[job["name"] for job in look(views, 5, *jobs)] for jobs in ([web], [db], [web, db])]

    assert names == [["web"], ["db"], ["web", "db"]]


async def test_text_may_be_anything(means: Means) -> None:
    job = await run(means, "web")
    job.notice.status = "half a surrogate: \ud800"
    job.status = ExitStatus(code=0)

    assert look(RecentViews(StartCounts()), 5, job)[0]["status"] == job.notice.status


async def test_no_jobs_are_an_empty_list() -> None:
    assert look(RecentViews(StartCounts()), 5) == []
