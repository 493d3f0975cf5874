import resource
import threading

import pytest
import trio

from mocker.supervisor.threads import run_in_thread
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


async def test_what_comes_too_late_for_the_caller_is_discarded() -> None:
    release, discarded = threading.Event(), list[str]()
    told = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def wait() -> str:
        release.wait()
        return "late"

    def discard(result: str) -> None:
        discarded.append(result)
        token.run_sync_soon(told.set)

    with trio.move_on_after(0.01):
        await run_in_thread(wait, discard=discard)
    in_time = await run_in_thread(lambda: "in time", discard=discard)
    release.set()
    with trio.fail_after(5):
        await told.wait()

    assert (in_time, discarded) == ("in time", ["late"])


@requires_user
async def test_thread_that_is_refused_is_an_error_of_the_system() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    try:
        with pytest.raises(BlockingIOError):
            await run_in_thread(int)
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
