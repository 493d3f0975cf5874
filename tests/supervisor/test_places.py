import resource
import threading

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.places import Places
from tests.requirements import requires_user


async def test_no_more_threads_are_busy_than_there_are_places() -> None:
    places = Places(2)
    release = threading.Event()
    began: list[int] = []

    def hang() -> None:
        began.append(1)
        release.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(places.run, hang)
        await wait_all_tasks_blocked(0.01)
        at_first = len(began)
        release.set()

    assert (at_first, len(began)) == (2, 3)


async def test_thread_that_hangs_leaves_its_place_to_others() -> None:
    places = Places(2)
    release = threading.Event()

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(places.run, release.wait)
        await wait_all_tasks_blocked()
        try:
            with trio.fail_after(20):
                found = [await places.run(int, "1"), await places.run(int, "2")]
        finally:
            release.set()

    assert found == [1, 2]


async def test_places_are_as_many_as_before_once_nobody_hangs() -> None:
    places = Places(1)
    first, second = threading.Event(), threading.Event()
    began = list[int]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(places.run, first.wait)
        await wait_all_tasks_blocked()
        await places.run(first.set)  # in another one, which is made as the first takes long

    def hang() -> None:
        began.append(1)
        second.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(places.run, hang)
        await wait_all_tasks_blocked(0.1)
        at_first = len(began)
        second.set()

    assert (at_first, len(began)) == (1, 2)


async def test_call_that_was_given_up_before_it_began_is_never_made() -> None:
    places = Places(1)
    release = threading.Event()
    made = list[int]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(places.run, release.wait)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await places.run(made.append, 1)

        release.set()
        await places.run(made.append, 2)

    assert made == [2]


async def test_errors_of_what_is_called_are_the_callers() -> None:
    places = Places(1)

    def fail() -> None:
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        await places.run(fail)


async def test_each_of_many_callers_gets_its_own_result() -> None:
    places = Places(3)
    found = dict[int, str]()

    async def call(number: int) -> None:
        found[number] = await places.run(str, number)

    async with trio.open_nursery() as nursery:
        for number in range(500):
            nursery.start_soon(call, number)

    assert found == {number: str(number) for number in range(500)}


@requires_user
async def test_thread_that_is_refused_is_an_error_of_the_system() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    try:
        with pytest.raises(BlockingIOError):
            await Places(1).run(int)
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))


async def test_place_of_a_caller_that_gives_up_is_free_again() -> None:
    places = Places(1)
    release = threading.Event()
    with trio.move_on_after(0.01):
        await places.run(release.wait)

    found = await places.run(int, "1")

    release.set()
    assert found == 1
