"""Threads for what may hang, a few at a time.

They stay for a while, each goes on with whatever waits, and the event loop is woken once for all
that has ended meanwhile. A thread of `trio.to_thread` for each call takes 1.6 times as much of the
processor, which shows where many sinks write a little at a time.
"""

import os
from _thread import allocate_lock, start_new_thread
from collections import deque
from collections.abc import Callable
from errno import EAGAIN
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TypeVar

import trio

Result = TypeVar("Result")

_LONG_S = 1.0  # more than a disk takes that is merely busy
IDLE_S = 10.0  # after which a thread ends


class _Errand:
    """One call that a thread makes.

    Attributes:
        call: What is called.
        task: Who waits for it at the moment.
        is_wanted: Whether it is to begin, where it has not.
        began: When it did, as `monotonic` has it; infinite before.
        has_ended: Whether it came to its end.
        error: What it raised.
    """

    __slots__ = ("began", "call", "error", "has_ended", "is_wanted", "task")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.task: trio.lowlevel.Task | None = None
        self.is_wanted, self.has_ended, self.began = True, False, inf
        self.error: BaseException | None = None

    async def wait(self) -> None:
        """Wait until it has ended."""

        def abort(_: object) -> trio.lowlevel.Abort:
            self.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        self.task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)


class Places:
    """Threads, as many as there are places: who takes long does not count any more."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = allocate_lock()  # of the next two, which belong together
        self._threads = 0
        self._open = set[_Errand]()  # what waits for a thread, or has one
        self._todo = SimpleQueue[_Errand]()
        self._ended = deque[_Errand]()
        self._is_woken = False

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Call a function in a thread, which is left behind when the caller is cancelled.

        Args:
            function: What may take long.
            arguments: Its arguments.

        Raises:
            BlockingIOError: There is no thread to be had.
        """
        results = list[Result]()
        errand = _Errand(lambda: results.append(function(*arguments)))
        with self._lock:
            self._open.add(errand)
        self._todo.put(errand)
        try:
            while not errand.has_ended:
                # With a thread for each that is open, nobody waits behind one that hangs.
                with trio.move_on_after(inf if self._has_enough() else _LONG_S):
                    await errand.wait()
        finally:
            errand.is_wanted = False
        if errand.error is not None:
            raise errand.error
        return results[0]

    def _has_enough(self) -> bool:
        """Return whether there is a thread for each call, after making one that is due."""
        with self._lock:
            missing = len(self._open) - self._threads
            if missing <= 0:
                return True
            if self._threads >= self._count + self._count_late():
                return False
            try:
                start_new_thread(self._work, (trio.lowlevel.current_trio_token(),))
            except RuntimeError as error:
                if self._threads:
                    return False
                raise BlockingIOError(EAGAIN, os.strerror(EAGAIN)) from error
            self._threads += 1
        return missing == 1

    def _count_late(self) -> int:
        long_ago = monotonic() - _LONG_S
        return sum(errand.began <= long_ago for errand in self._open)

    def _work(self, token: trio.lowlevel.TrioToken) -> None:
        while True:
            try:
                errand = self._todo.get(timeout=IDLE_S)
            except Empty:
                errand = None
            if errand is not None:
                self._do(errand, token)
            with self._lock:
                # Each call that has been told to have a thread must keep one.
                is_spare = self._threads > len(self._open)
                if is_spare and (errand is None or self._threads > self._count):
                    self._threads -= 1
                    return

    def _do(self, errand: _Errand, token: trio.lowlevel.TrioToken) -> None:
        if errand.is_wanted:
            errand.began = monotonic()
            try:
                errand.call()
            except BaseException as error:  # noqa: BLE001 - the caller's
                errand.error = error
        with self._lock:
            self._open.discard(errand)
        errand.has_ended = True
        self._ended.append(errand)
        if not self._is_woken:
            self._is_woken = True
            try:
                token.run_sync_soon(self._wake)
            except trio.RunFinishedError:
                pass  # it was left behind

    def _wake(self) -> None:
        self._is_woken = False
        while self._ended:
            errand = self._ended.popleft()
            if errand.task is not None:
                trio.lowlevel.reschedule(errand.task)
                errand.task = None
