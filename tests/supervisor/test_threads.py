import resource
import threading

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.supervisor.threads import Places, run_in_thread
from tests.requirements import requires_user


async def test_function_is_called_in_another_thread() -> None:
    name = await run_in_thread(lambda *words: (threading.get_ident(), *words), "a", "b")

    assert name[1:] == ("a", "b")
    assert name[0] != threading.get_ident()


async def test_errors_of_the_function_are_the_callers() -> None:
    def fail() -> None:
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        await run_in_thread(fail)


async def test_caller_does_not_wait_for_a_thread_that_hangs() -> None:
    release = threading.Event()

    with trio.move_on_after(0.01) as limit:
        await run_in_thread(release.wait)
    release.set()

    assert limit.cancelled_caught


@requires_user
async def test_thread_that_is_refused_is_an_error_of_the_system() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    try:
        with pytest.raises(BlockingIOError):
            await run_in_thread(int)
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))


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


async def test_thread_that_hangs_leaves_its_place_to_others(autojump_clock: MockClock) -> None:
    places = Places(2)
    release = threading.Event()

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(places.run, release.wait)
        await wait_all_tasks_blocked()

        found = [await places.run(int, "1"), await places.run(int, "2")]

        waited = trio.current_time()
        release.set()

    assert found == [1, 2]
    assert waited < 5


async def test_places_are_as_many_as_before_once_nobody_hangs(autojump_clock: MockClock) -> None:
    places = Places(1)
    release = threading.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(places.run, release.wait)
        await trio.sleep(5)
        hanging = places._places.total_tokens

        release.set()

    assert (hanging, places._places.total_tokens) == (2, 1)
    assert (places._began, places._lent) == ({}, set())


async def test_place_of_a_caller_that_gives_up_is_free_again() -> None:
    places = Places(1)
    release = threading.Event()
    with trio.move_on_after(0.01):
        await places.run(release.wait)

    found = await places.run(int, "1")

    release.set()
    assert found == 1
