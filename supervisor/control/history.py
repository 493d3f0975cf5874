"""The last lines of several jobs, in the order in which they came.

Pure, and for a thread: there may be many megabytes of them.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import attrs

from ..feeds import render_lines, split_lines
from ..lines import Lines

_PIECE = 2**16  # bytes
# Bytes: four times all that is kept of all jobs, or all of one job for sixty who take nothing.
_MOST_HELD = 2**26


def choose_lines(jobs: Iterable[Sequence[Lines]], count: int | None, since_ns: int) -> "History":
    """Return those that are asked for.

    Args:
        jobs: Of each job all that is kept, the latest last.
        count: How many of the last lines of each; None for all.
        since_ns: The oldest are from then.
    """
    chosen = [_choose(batches, count, since_ns) for batches in jobs]
    # By time alone the lines of one job might change places, if somebody sets the clock back.
    merged = heapq.merge(*chosen, key=lambda lines: lines.time_ns)
    return History(part for lines in merged for part in split_lines(lines))


class Shelf:
    """Where last lines lie until those who asked for them have taken them: it has an end."""

    def __init__(self, most: int = _MOST_HELD) -> None:
        self._room = most

    @contextmanager
    def hold(self, jobs: Iterable[Iterable[Lines]]) -> Iterator[bool]:
        """Have lines lie there for the length of a block; tell whether there is room."""
        size = sum(len(lines.text) for batches in jobs for lines in batches)
        has_room = size <= self._room
        self._room -= size if has_room else 0
        try:
            yield has_room
        finally:
            self._room += size if has_room else 0


class History:
    """Lines that are made into what is told only when they are taken."""

    def __init__(self, lines: Iterable[Lines]) -> None:
        self._lines = deque(lines)

    @property
    def has_more(self) -> bool:
        """Whether there is something to take."""
        return bool(self._lines)

    def take(self) -> bytes:
        """Return what comes next."""
        parts, size = list[bytes](), 0
        while self._lines and size < _PIECE:
            parts.append(render_lines(self._lines.popleft()))
            size += len(parts[-1])
        return b"".join(parts)


def _choose(batches: Sequence[Lines], count: int | None, since_ns: int) -> list[Lines]:
    """Return the last lines, the latest last."""
    chosen, missing = list[Lines](), count
    for lines in reversed(batches):
        if missing == 0 or lines.time_ns < since_ns:
            break
        number = lines.text.count(b"\n")
        if missing is not None and number > missing:
            lines = _keep_last(lines, number, missing)  # noqa: PLW2901
            number = missing
        chosen.append(lines)
        missing = None if missing is None else missing - number
    return chosen[::-1]


def _keep_last(lines: Lines, number: int, count: int) -> Lines:
    """Return the last of so many lines."""
    text = b"\n".join(lines.text[:-1].rsplit(b"\n", count)[-count:]) + b"\n"
    gone = number - count
    partial = tuple(index - gone for index in lines.partial if index >= gone)
    return attrs.evolve(lines, text=text, partial=partial, continues=False)
