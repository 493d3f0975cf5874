"""The last lines of several jobs, in the order in which they came.

Pure, and for a thread: there may be many megabytes of them.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from ..feeds import render_lines, split_lines
from ..kept_lines import KeptLines
from ..lines import Lines

_PIECE = 2**16  # bytes
_MOST_PARTS = 128  # that are told at a time, which takes a millisecond: all else waits
# Bytes: four times all that is kept of all jobs, or all of one job for sixty who take nothing.
_MOST_HELD = 2**26


def choose_lines(
    jobs: Iterable[Sequence[KeptLines]], count: int | None, since_ns: int
) -> "History":
    """Return those that are asked for.

    Args:
        jobs: Of each job all that is kept, the latest last.
        count: How many of the last lines of each; None for all.
        since_ns: The oldest are from then.
    """
    chosen = [_split(_choose(batches, count, since_ns)) for batches in jobs]
    # By time alone the lines of one job might change places, if somebody sets the clock back.
    merged = heapq.merge(*chosen, key=lambda lines: lines.time_ns)
    return History(part for lines in merged for part in split_lines(lines))


class Shelf:
    """Where last lines lie until those who asked for them have taken them: it has an end."""

    def __init__(self, most: int = _MOST_HELD) -> None:
        self._room = most

    @contextmanager
    def hold(self, jobs: Iterable[Iterable[KeptLines]]) -> Iterator[bool]:
        """Have lines lie there for the length of a block; tell whether there is room."""
        size = sum(len(kept.lines.text) for batches in jobs for kept in batches)
        has_room = size <= self._room
        self._room -= size if has_room else 0
        try:
            yield has_room
        finally:
            self._room += size if has_room else 0


class History:
    """Lines that are made into what is told only when they are taken."""

    def __init__(self, lines: Iterator[Lines]) -> None:
        self._lines = lines
        self._next = next(lines, None)

    @property
    def has_more(self) -> bool:
        """Whether there is something to take."""
        return self._next is not None

    def take(self) -> bytes:
        """Return what comes next."""
        parts, size = list[bytes](), 0
        while self._next is not None and size < _PIECE and len(parts) < _MOST_PARTS:
            parts.append(render_lines(self._next))
            size += len(parts[-1])
            self._next = next(self._lines, None)
        return b"".join(parts)


def _choose(batches: Sequence[KeptLines], count: int | None, since_ns: int) -> deque[KeptLines]:
    """Return the last lines, the latest last."""
    chosen, missing = deque[KeptLines](), count
    for kept in reversed(batches):
        early = kept.count_before(since_ns)
        text = kept.lines.text
        if missing == 0 or early == len(text):
            break
        number = text.count(b"\n", early)
        if missing is not None and number > missing:
            early = len(text) - sum(len(line) + 1 for line in text[:-1].rsplit(b"\n", missing)[1:])
            number = missing
        chosen.appendleft(kept.drop(early))
        missing = None if missing is None else missing - number
        if early:
            break
    return chosen


def _split(batches: deque[KeptLines]) -> Iterator[Lines]:
    """Yield lines as they came, and let go of what is done."""
    while batches:
        yield from batches.popleft().split()
