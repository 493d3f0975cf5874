"""What is asked of all jobs together, such as a reload: one thing after the other, in turn.

Whoever asks may wait for the outcome, and may go away: what was asked for is carried out anyhow.
Reloads that are asked for before the next one begins are that one. So only other things can become
too many, and those are refused then.
"""

from collections import deque
from collections.abc import Mapping

import trio

from .reload import Difference

_MOST = 100  # that wait, besides reloads


class NoTurnError(Exception):
    """The supervisor is stopping: nothing more is done."""


class TooManyTurnsError(Exception):
    """So much is asked for already that nothing more can be."""


class Turn:
    """One thing that is asked for.

    Attributes:
        counts: How many replicas there are to be, by entry; None for a reload.
    """

    def __init__(self, counts: Mapping[str, int] | None) -> None:
        self.counts = counts
        self._outcome: Difference | Exception = NoTurnError(
            "nothing is changed: the supervisor is stopping"
        )
        self._over = trio.Event()

    def end(self, outcome: Difference | Exception | None = None) -> None:
        """Tell those who wait what came of it; None if it is not carried out."""
        if outcome is not None:
            self._outcome = outcome
        self._over.set()

    async def wait(self) -> Difference:
        """Wait until it is carried out, and return what it changed.

        Raises:
            Exception: What it ended with.
            NoTurnError: The supervisor is stopping.
        """
        await self._over.wait()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


class Turns:
    """All that is asked for."""

    def __init__(self) -> None:
        self._pending: deque[Turn] = deque()  # the first may have begun
        self._has_begun = False
        self._is_over = False
        self._news = trio.Event()

    def ask(self, counts: Mapping[str, int] | None = None) -> Turn:
        """Ask for something, see `Turn`.

        Raises:
            TooManyTurnsError: Too much is asked for already; never for a reload.
        """
        waiting = list(self._pending)[self._has_begun :]
        if counts is None and waiting and waiting[-1].counts is None:
            return waiting[-1]
        if counts is not None and sum(turn.counts is not None for turn in waiting) >= _MOST:
            raise TooManyTurnsError(f"{_MOST} others are waited for")
        turn = Turn(counts)
        if self._is_over:
            turn.end()
        else:
            self._pending.append(turn)
            self._news.set()
        return turn

    async def begin(self) -> Turn:
        """Wait until something is asked for, and return it; the one before is over."""
        if self._has_begun:
            self._pending.popleft()
            self._has_begun = False
        while not self._pending:
            self._news = trio.Event()
            await self._news.wait()
        self._has_begun = True
        return self._pending[0]

    def end(self) -> None:
        """Tell all who wait that nothing more is done."""
        self._is_over = True
        if self._has_begun:
            self._pending.popleft().end(
                NoTurnError("not all is changed: the supervisor is stopping")
            )
            self._has_begun = False
        while self._pending:
            self._pending.popleft().end()
