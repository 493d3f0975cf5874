"""How those are served who follow something: as fast as they take it, and as the jobs leave time.

They wait for room before they are given anything, however long that takes, so that nothing is made
for one that takes nothing. All together are given no more than their share of what the machine can
do: otherwise fifty that follow a flood would have the processors for themselves, they and their
readers, and the job would wait. What they could not have is told as lost.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

_PIECE = 2**16  # bytes that are sent at a time: less than what has room once somebody waited
# A second has time for so much. Fifty readers take a third of a processor for it; one gets all
# lines of a job that prints 200,000 in a second.
_BYTES_PER_S = 64 * 2**20
_SEND_S = 0.001  # of that second, what each piece costs besides; five times what is used up
_SLACK_S = 0.1  # that may have been saved up: a line for each of fifty is sent at once


class Text(Protocol):
    """What somebody is given."""

    @property
    def has_more(self) -> bool:
        """Whether there is something to take."""

    def take(self) -> bytes:
        """Return what comes next."""


class Followed(Text, Protocol):
    """What somebody follows.

    Attributes:
        at_end: Whether nothing more will come.
    """

    at_end: bool

    async def wait(self) -> None:
        """Wait until there may be something to take."""


class Pace:
    """When it is whose turn."""

    def __init__(self) -> None:
        self._turns = trio.Lock()  # the one who has waited longest is next
        self._free_at = 0.0

    async def wait_turn(self) -> None:
        """Wait until one more may be given something."""
        async with self._turns:
            await trio.sleep_until(self._free_at)
            self._free_at = max(self._free_at, trio.current_time() - _SLACK_S) + _SEND_S

    def note(self, size: int) -> None:
        """Have so many bytes sent."""
        self._free_at += size / _BYTES_PER_S


class Recipient:
    """Somebody who is given something."""

    def __init__(
        self,
        pace: Pace,
        wait_room: Callable[[], Awaitable[None]],
        put: Callable[[bytes], Awaitable[None]],
    ) -> None:
        """Give nothing yet.

        Args:
            pace: That of all who follow.
            wait_room: Waits until there is room.
            put: Sends what there is room for.
        """
        self._pace, self._wait_room, self._put = pace, wait_room, put

    async def give(self, text: Text) -> None:
        """Give what is there."""
        while text.has_more:
            await self._wait_room()
            await self._pace.wait_turn()
            part = text.take()
            self._pace.note(len(part))
            await self._put(part[:_PIECE])
            for begin in range(_PIECE, len(part), _PIECE):
                await self._wait_room()
                await self._put(part[begin : begin + _PIECE])

    async def follow(self, followed: Followed) -> None:
        """Give what is there, and what comes until nothing more will."""
        await self.give(followed)
        while not followed.at_end:
            await followed.wait()
            await self.give(followed)
