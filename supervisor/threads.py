"""Run what may take long in a thread of its own, where one is to be had.

A process that has reached its limit of processes is refused threads as well, which must cost no
more than what was to be done.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from errno import EAGAIN
from typing import TypeVar

import trio

Result = TypeVar("Result")


async def run_in_thread(
    function: Callable[..., Result],
    *arguments: object,
    limiter: trio.CapacityLimiter | None = None,
    discard: Callable[[Result], None] | None = None,
) -> Result:
    """Call a function in a thread, which is left behind when the caller is cancelled.

    Args:
        function: What may take long.
        arguments: Its arguments.
        limiter: How many may do so at a time; None for trio's own.
        discard: Is called, in any thread, with what was returned too late for the caller.

    Raises:
        BlockingIOError: There is no thread to be had.
    """
    results = list[Result]()
    is_late = False

    def call() -> None:
        results.append(function(*arguments))
        if is_late:
            discard_all()

    def discard_all() -> None:
        while results:
            with suppress(IndexError):  # the other thread was faster
                result = results.pop()
                if discard is not None:
                    discard(result)

    try:
        await trio.to_thread.run_sync(call, limiter=limiter, abandon_on_cancel=True)
    except trio.Cancelled:
        is_late = True
        discard_all()
        raise
    except RuntimeError as error:
        if "thread" not in str(error):
            raise
        raise BlockingIOError(EAGAIN, os.strerror(EAGAIN)) from error
    return results.pop()
