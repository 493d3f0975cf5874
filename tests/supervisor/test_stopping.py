"""The order of stops, with jobs that need no container: their runs end when a test says so."""

from collections.abc import Iterator, Mapping

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.isolation import ExitStatus
from mocker.supervisor import lifecycle
from mocker.supervisor.config import JobConfig
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.stopping import stop_in_order, tell_who_holds
from tests.supervisor.job_world import configure, make_means


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


class RunningJob(Job):
    """A job without a container that runs, and goes when it is told to."""

    def __init__(self, means: Means, name: str, depends_on: Mapping[str, str]) -> None:
        config = configure("", name=name, depends_on=depends_on)
        super().__init__(config, means, wait_for_nothing, lambda _: None)
        self.start()
        self._become(lifecycle.become_ready(lifecycle.execute(self.life, 0.0), 0.0))

    def go(self) -> None:
        self._become(lifecycle.end_run(self.life, self.config, ExitStatus(code=0), 0.0, 0.0))


async def wait_for_nothing(_: JobConfig) -> str:
    return ""


def make_jobs(means: Means, **graph: str) -> dict[str, RunningJob]:
    """Make jobs that depend on others, named by one letter each."""
    return {
        name: RunningJob(means, name, dict.fromkeys(needed, "started"))
        for name, needed in graph.items()
    }


async def stop_rounds(jobs: Mapping[str, RunningJob]) -> list[str]:
    """Stop jobs, let go all that are told to at a time, and return who that was each time."""
    rounds: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_in_order, list(jobs.values()))
        while True:
            await wait_all_tasks_blocked()
            told = [name for name, job in jobs.items() if job.life.state is State.STOPPING]
            if not told:
                return rounds
            rounds.append("".join(told))
            for name in told:
                jobs[name].go()


@pytest.mark.parametrize(
    ("graph", "rounds"),
    [
        ({}, []),
        ({"a": "", "b": ""}, ["ab"]),
        ({"a": "", "b": "a", "c": "b", "d": ""}, ["cd", "b", "a"]),
        ({"a": "", "b": "a", "c": "a", "d": "bc"}, ["d", "bc", "a"]),
        ({"c": "b", "b": "a", "a": ""}, ["c", "b", "a"]),
        ({"a": "", "b": "a", "c": "ab"}, ["c", "b", "a"]),
        ({"a": "z", "b": "a"}, ["b", "a"]),  # z is not among those that stop
    ],
)
async def test_job_is_stopped_once_its_dependents_are_gone(
    means: Means, graph: dict[str, str], rounds: list[str]
) -> None:
    assert await stop_rounds(make_jobs(means, **graph)) == rounds


async def test_job_that_is_at_rest_is_not_waited_for(means: Means) -> None:
    jobs = make_jobs(means, a="", b="a")
    jobs["b"].go()

    assert await stop_rounds(jobs) == ["a"]


async def test_those_who_hold_a_stop_are_named_and_the_rest_counted(
    means: Means, autojump_clock: MockClock
) -> None:
    jobs = list(make_jobs(means, **dict.fromkeys("abcdefghijkl", "")).values())
    for job in jobs:
        job.stop()

    with capture_logs() as events, trio.move_on_after(4):
        await tell_who_holds(jobs)

    assert [event.get("job") for event in events] == [*"abcdefghij", None]
    assert events[-1]["count"] == 2


async def test_those_who_are_gone_are_not_named(means: Means, autojump_clock: MockClock) -> None:
    jobs = make_jobs(means, a="", b="")
    for job in jobs.values():
        job.stop()
    jobs["a"].go()

    with capture_logs() as events, trio.move_on_after(4):
        await tell_who_holds(list(jobs.values()))

    assert [event["job"] for event in events] == ["b"]
