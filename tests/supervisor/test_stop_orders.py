"""Orders to stop, of jobs that a test moves."""

from collections.abc import Iterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.stop_orders import StopOrder, StopOrders
from tests.supervisor.control.control_world import Puppet
from tests.supervisor.job_world import make_means


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


class World:
    """Jobs that run, c needs b needs a, and the orders."""

    def __init__(self, means: Means) -> None:
        self.a = Puppet(means, "a")
        self.b = Puppet(means, "b", {"a": "started"})
        self.c = Puppet(means, "c", {"b": "started"})
        self.jobs = [self.a, self.b, self.c]
        for job in self.jobs:
            job.bring(State.RUNNING)
        self.orders = StopOrders()

    def give(self, *jobs: Puppet) -> list[StopOrder]:
        orders = self.orders.give(jobs, self.jobs)
        return [orders[job] for job in jobs]

    def name_stopping(self) -> str:
        return "".join(job.config.name for job in self.jobs if job.life.state is State.STOPPING)

    async def end(self, job: Puppet) -> None:
        job.end()
        await wait_all_tasks_blocked()


async def test_each_stops_once_those_that_depend_on_it_are_gone(means: Means) -> None:
    world = World(means)
    rounds = []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.orders.run)
        await wait_all_tasks_blocked()
        world.give(*world.jobs)
        for job in reversed(world.jobs):
            rounds.append(world.name_stopping())
            await world.end(job)
        nursery.cancel_scope.cancel()

    assert rounds == ["c", "b", "a"]


async def test_one_that_is_about_to_stop_is_waited_for(means: Means) -> None:
    world = World(means)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.orders.run)
        await wait_all_tasks_blocked()
        world.b.stop()
        world.give(world.a)
        before = world.name_stopping()
        await world.end(world.b)
        nursery.cancel_scope.cancel()

    assert (before, world.name_stopping()) == ("b", "a")


async def test_one_that_runs_on_is_not_waited_for(means: Means) -> None:
    world = World(means)

    world.give(world.a)

    assert world.name_stopping() == "a"


async def test_order_that_is_withdrawn_is_not_carried_out(means: Means) -> None:
    world = World(means)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.orders.run)
        await wait_all_tasks_blocked()
        order, _ = world.give(world.b, world.c)
        world.orders.withdraw(world.b)
        settled = await order.wait_settled()
        await world.end(world.c)
        nursery.cancel_scope.cancel()

    assert (settled, world.b.life.state) == (False, State.RUNNING)


async def test_what_one_that_is_to_run_needs_is_to_run_too(means: Means) -> None:
    world = World(means)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.orders.run)
        await wait_all_tasks_blocked()
        orders = world.give(*world.jobs)
        world.orders.withdraw(world.c)
        settled = [await order.wait_settled() for order in orders]
        nursery.cancel_scope.cancel()

    assert settled == [False, False, True]  # the last one was told to stop before


async def test_order_that_waits_is_given_once(means: Means) -> None:
    world = World(means)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.orders.run)
        await wait_all_tasks_blocked()
        first, _ = world.give(world.b, world.c)
        (second,) = world.give(world.b)
        await world.end(world.c)
        settled = await first.wait_settled()
        nursery.cancel_scope.cancel()

    assert (first is second, settled, world.name_stopping()) == (True, True, "b")


async def test_order_of_one_that_has_stopped_meanwhile_is_settled(means: Means) -> None:
    world = World(means)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.orders.run)
        await wait_all_tasks_blocked()
        order, _ = world.give(world.b, world.c)
        world.b.stop()
        await world.end(world.b)
        await world.end(world.c)
        settled = await order.wait_settled()
        nursery.cancel_scope.cancel()

    assert (settled, world.b.life.state) == (True, State.STOPPED)
