"""Run what may take long in a thread of its own, where one is to be had.

A process that has reached its limit of processes is refused threads as well, which must cost no
more than what was to be done.
"""

import os
from collections.abc import Callable
from errno import EAGAIN
from typing import TypeVar

import trio

Result = TypeVar("Result")

_LONG_S = 1.0  # more than a disk takes that is merely busy
_ANY = trio.CapacityLimiter(float("inf"))


async def run_in_thread(
    function: Callable[..., Result], *arguments: object, limiter: trio.CapacityLimiter | None = None
) -> Result:
    """Call a function in a thread, which is left behind when the caller is cancelled.

    Args:
        function: What may take long.
        arguments: Its arguments.
        limiter: How many may do so at a time; None for trio's own.

    Raises:
        BlockingIOError: There is no thread to be had.
    """
    try:
        return await trio.to_thread.run_sync(
            function, *arguments, limiter=limiter, abandon_on_cancel=True
        )
    except RuntimeError as error:
        if "thread" not in str(error):
            raise
        raise BlockingIOError(EAGAIN, os.strerror(EAGAIN)) from error


class Places:
    """Threads for what may hang, a few at a time: who takes long does not count any more."""

    def __init__(self, count: int) -> None:
        self._places = trio.CapacityLimiter(count)
        self._began: dict[object, float] = {}  # of each that has a place, until it has taken long
        self._lent: set[object] = set()

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Call a function in a thread, see `run_in_thread`."""
        caller = object()
        await self._take_place(caller)
        self._began[caller] = trio.current_time()
        try:
            return await run_in_thread(function, *arguments, limiter=_ANY)
        finally:
            self._began.pop(caller, None)
            self._places.release_on_behalf_of(caller)
            if caller in self._lent:
                self._lent.remove(caller)
                self._places.total_tokens -= 1

    async def _take_place(self, caller: object) -> None:
        while True:
            if not self._places.available_tokens:
                self._replace_late()
            with trio.move_on_after(_LONG_S):
                await self._places.acquire_on_behalf_of(caller)
                return

    def _replace_late(self) -> None:
        """Make a new place for each caller that has taken long."""
        long_ago = trio.current_time() - _LONG_S
        late = [caller for caller, began in self._began.items() if began <= long_ago]
        for caller in late:
            del self._began[caller]
            self._lent.add(caller)
            self._places.total_tokens += 1
