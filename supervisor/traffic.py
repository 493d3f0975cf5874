"""What is on its way to all sinks together, so that it never becomes too much.

Memory is bounded in three ways, see `sinks`; what all of them share is counted here.
"""

from typing import Protocol

import trio

from mocker.isolation.syscalls import trim_heap

from .threads import Places

_MOST_TOGETHER = 6 * 2**20  # bytes that move, and as many that do not
# Bytes that all jobs which have much to say read at a time. What becomes of them is on the heap,
# and a thousand things that stay there meanwhile leave a thousand holes of that size.
_MOST_READ = 8 * 2**20
_BIG_READ, _SMALL_READ = 2**18, 2**14
_TINY_READ = 2**12  # while much does not move: then each of a thousand sinks has that in addition
# Bytes after which the holes are given back that many sinks leave in the heap. A few sinks leave
# few, and would only have to get the same memory anew.
_TRIM_AFTER, _MANY_SINKS = 16 * 2**20, 16
STUCK_S = 1.0  # after which bytes are taken for those that do not move
_PLACES = 16  # threads for targets that do not hang


class Stuck(Protocol):
    """What may be stuck: a sink."""

    def leave_out_if_stuck(self) -> None:
        """Count its bytes as stuck, if they have not moved for a while."""


class Traffic:
    """What all sinks share.

    Attributes:
        moving: Bytes that are on their way.
        stuck: Bytes that are on their way to targets that have taken nothing for a while.
        places: Threads to write in.
        sinks: Those that something may be on its way to.
        floods: How many channels have much to say.
        buffer: Where whoever reads from a job has it first, until it waits for something.
    """

    def __init__(self) -> None:
        self.moving = self.stuck = 0
        self.places = Places(_PLACES)
        self.sinks: set[Stuck] = set()
        self.floods = 0
        self.buffer = bytearray(_BIG_READ)
        self._came = 0  # bytes since the heap was trimmed
        self._turn = trio.Lock()  # first come, first served
        self._relief = trio.Event()

    @property
    def is_heavy(self) -> bool:
        """Whether nothing more should come for now."""
        return self.moving >= _MOST_TOGETHER

    @property
    def most_read(self) -> int:
        """Bytes that should be read at a time."""
        if self.is_clogged:
            return _TINY_READ
        return max(_SMALL_READ, min(_BIG_READ, _MOST_READ // max(self.floods, 1)))

    @property
    def is_clogged(self) -> bool:
        """Whether only little should come at a time."""
        return self.stuck >= _MOST_TOGETHER

    async def wait_turn(self) -> None:
        """Wait until more may come; whoever waits has its turn before those who came later.

        What follows without waiting for anything else may come.
        """
        async with self._turn:
            while self.is_heavy:
                with trio.move_on_after(STUCK_S) as wait:
                    await self._relief.wait()
                if wait.cancelled_caught:
                    for sink in self.sinks:
                        sink.leave_out_if_stuck()

    def add(self, moving: int, stuck: int) -> None:
        """Have so many bytes more, or less, on their way."""
        was_heavy = self.is_heavy
        self.moving += moving
        self.stuck += stuck
        self._came += max(moving, 0)
        if self._came >= _TRIM_AFTER and len(self.sinks) >= _MANY_SINKS:
            self._came = 0
            trim_heap()
        if was_heavy and not self.is_heavy:
            self._relief.set()
            self._relief = trio.Event()
