"""What comes of rolling restarts, of jobs that a test moves."""

from collections.abc import Callable, Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.control.actions import Outcome
from mocker.supervisor.control.rolling import RollingRestarts
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.stop_orders import StopOrders
from tests.supervisor.control.control_world import Puppet
from tests.supervisor.job_world import make_means

WEBS = ("web-1", "web-2", "web-3")
RUNNING, STARTING, STOPPING = State.RUNNING, State.STARTING, State.STOPPING


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


class World:
    """Replicas that run, and those who restart them.

    Attributes:
        jobs: By name.
        outcomes: What those who asked were told, in order.
    """

    def __init__(self, means: Means, nursery: trio.Nursery, **fields: object) -> None:
        self.jobs = {name: Puppet(means, name, {}, group="web", **fields) for name in WEBS}
        self.jobs["db"] = Puppet(means, "db")
        for job in self.jobs.values():
            job.bring(RUNNING)
        self.outcomes: list[Outcome] = []
        self._all: dict[str, Job] = {**self.jobs}
        self._rolling = RollingRestarts(self._all, StopOrders())
        self._nursery = nursery

    @property
    def states(self) -> list[State]:
        """The states of the replicas."""
        return [self.jobs[name].life.state for name in WEBS]

    async def restart(self, *names: str) -> trio.CancelScope:
        """Begin a rolling restart; return what cancels it."""
        scope = trio.CancelScope()

        async def replace() -> None:
            with scope:
                await self._rolling.replace([self.jobs[name] for name in names], self._tell)

        self._nursery.start_soon(replace)
        await wait_all_tasks_blocked()
        return scope

    async def do(self, *steps: Callable[[], object]) -> None:
        """Let one thing after the other happen, and each have its effect."""
        for step in steps:
            step()
            await wait_all_tasks_blocked()

    async def finish(self, *names: str) -> None:
        """Let these stop and become ready, one after the other."""
        for name in names:
            await self.do(self.jobs[name].end, self.jobs[name].become_ready)

    def remove(self, name: str) -> None:
        """Let a job not be there any more."""
        del self._all[name]

    async def _tell(self, outcome: Outcome) -> None:
        await trio.lowlevel.checkpoint()
        self.outcomes.append(outcome)


def stop(job: Puppet) -> None:
    job.stop()
    job.end()


def crash(job: Puppet) -> None:
    job.become_ready()
    job.end(1)


def restarted(*names: str) -> list[Outcome]:
    return [Outcome(name, "restarted") for name in names]


def refused(reason: str, *names: str) -> list[Outcome]:
    return [Outcome(name, "not restarted", ok=False, reason=reason) for name in names]


async def test_next_one_stops_once_the_former_is_ready(means: Means) -> None:
    async with trio.open_nursery() as nursery:
        world = World(means, nursery)
        await world.restart(*WEBS)
        seen = [world.states]
        for step in (world.jobs["web-1"].end, world.jobs["web-1"].become_ready):
            await world.do(step)
            seen.append(world.states)
        told = list(world.outcomes)
        await world.finish("web-2", "web-3")

    assert seen == [
        [STOPPING, RUNNING, RUNNING],
        [STARTING, RUNNING, RUNNING],
        [RUNNING, STOPPING, RUNNING],
    ]
    assert told == restarted("web-1")
    assert world.outcomes == restarted(*WEBS)


@pytest.mark.parametrize(
    ("happens", "outcome"),
    [
        (lambda job: job.end(3), ("not started", "it ended: exit code 3")),
        (lambda job: job.skip("db will not be ready"), ("skipped", "db will not be ready")),
        (stop, ("stopped", "somebody else asked for that")),
    ],
    ids=["ends", "skipped", "stopped"],
)
async def test_rest_runs_on_if_one_does_not_become_ready(
    means: Means, happens: Callable[[Puppet], object], outcome: tuple[str, str]
) -> None:
    async with trio.open_nursery() as nursery:
        world = World(means, nursery)
        await world.restart(*WEBS)
        await world.do(world.jobs["web-1"].end, lambda: happens(world.jobs["web-1"]))

    name, reason = outcome
    assert world.outcomes == [
        Outcome("web-1", name, ok=False, reason=reason),
        *refused("web-1 is not ready", "web-2", "web-3"),
    ]
    assert world.states[1:] == [RUNNING, RUNNING]


async def test_one_that_is_ready_and_ends_before_anybody_looks_is_not_ready(means: Means) -> None:
    async with trio.open_nursery() as nursery:
        world = World(means, nursery)
        await world.restart("web-1", "web-2")
        await world.do(world.jobs["web-1"].end, lambda: crash(world.jobs["web-1"]))

    assert [outcome.ok for outcome in world.outcomes] == [False, False]
    assert world.states == [State.BACKOFF, RUNNING, RUNNING]


async def test_one_that_nobody_asks_and_that_ends_soon_is_not_ready(means: Means) -> None:
    async with trio.open_nursery() as nursery:
        world = World(means, nursery, ready=None)
        await world.restart("web-1", "web-2")
        web = world.jobs["web-1"]
        await world.do(web.end, web.become_ready, lambda: web.end(1))

    assert [outcome.ok for outcome in world.outcomes] == [False, False]
    assert world.states == [State.BACKOFF, RUNNING, RUNNING]


async def test_oneshot_has_to_complete(means: Means) -> None:
    async with trio.open_nursery() as nursery:
        world = World(means, nursery, kind="oneshot")
        await world.restart("web-1", "web-2")
        await world.finish("web-1")
        seen = world.states
        await world.do(world.jobs["web-1"].end)
        await world.finish("web-2")
        await world.do(world.jobs["web-2"].end)

    assert seen == [RUNNING, RUNNING, RUNNING]
    assert world.outcomes == [Outcome("web-1", "completed"), Outcome("web-2", "completed")]


async def test_nobody_waits_any_more_and_the_next_ones_are_left_alone(means: Means) -> None:
    async with trio.open_nursery() as nursery:
        world = World(means, nursery)
        scope = await world.restart(*WEBS)
        await world.do(scope.cancel)
        await world.finish("web-1")

    assert world.states == [RUNNING] * 3
    assert world.outcomes == []


async def test_second_one_of_the_same_entry_is_refused(means: Means) -> None:
    async with trio.open_nursery() as nursery:
        world = World(means, nursery)
        await world.restart("web-1")
        await world.restart("db", "web-2")
        states = world.states
        await world.finish("web-1")

    assert states == [STOPPING, RUNNING, RUNNING]
    assert world.outcomes == [
        *refused("a rolling restart of web is under way", "db", "web-2"),
        *restarted("web-1"),
    ]


async def test_next_one_is_possible_after_each_end(means: Means) -> None:
    async with trio.open_nursery() as nursery:
        world = World(means, nursery)
        scope = await world.restart("web-1")
        await world.do(scope.cancel)
        await world.finish("web-1")
        await world.restart("web-1")
        await world.finish("web-1")
        await world.restart("web-2")
        await world.finish("web-2")

    assert world.outcomes == restarted("web-1", "web-2")


async def test_different_entries_do_not_wait_for_each_other(means: Means) -> None:
    async with trio.open_nursery() as nursery:
        world = World(means, nursery)
        await world.restart("web-1")
        await world.restart("db")
        await world.finish("db", "web-1")

    assert world.outcomes == restarted("db", "web-1")


async def test_no_replica_stops_while_somebody_else_restarts_another_one(means: Means) -> None:
    async with trio.open_nursery() as nursery:
        world = World(means, nursery)
        await world.do(world.jobs["web-2"].stop, world.jobs["web-2"].start)
        await world.restart("web-1")
        seen = world.states
        await world.finish("web-2")
        then = world.states
        await world.finish("web-1")

    assert (seen, then) == ([RUNNING, STOPPING, RUNNING], [STOPPING, RUNNING, RUNNING])
    assert world.outcomes == restarted("web-1")


async def test_one_that_is_removed_meanwhile_does_not_end_it(means: Means) -> None:
    async with trio.open_nursery() as nursery:
        world = World(means, nursery)
        await world.restart(*WEBS)
        world.remove("web-2")
        await world.finish("web-1", "web-3")

    assert world.outcomes == [
        *restarted("web-1"),
        *refused("somebody else asked for that", "web-2"),
        *restarted("web-3"),
    ]


async def test_nothing_is_stopped_at_the_end_of_the_supervisor(means: Means) -> None:
    async with trio.open_nursery() as nursery:
        world = World(means, nursery)
        for job in world.jobs.values():
            job.retire()
        await world.restart("web-1")

    assert world.states == [RUNNING] * 3
    assert [(outcome.outcome, outcome.ok) for outcome in world.outcomes] == [
        ("not restarted", False)
    ]
