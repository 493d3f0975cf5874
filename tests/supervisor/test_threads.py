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


@requires_user
async def test_thread_that_is_refused_is_an_error_of_the_system() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    try:
        with pytest.raises(BlockingIOError):
            await run_in_thread(int)
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
