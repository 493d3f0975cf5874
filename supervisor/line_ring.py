"""The last lines of each job, for whoever asks what it said.

They are kept as they came, many in one piece, and are looked at only when somebody asks. All jobs
together take no more than a fixed number of bytes; the more jobs there are, the less has each.
"""

from collections import deque
from itertools import islice
from weakref import WeakSet

import attrs

from .lines import Lines

_MOST_LINES = 1000  # of a job
_MOST_EACH = 2**18  # bytes: 1,000 lines of 250
_MOST_TOGETHER = 28 * 2**20  # bytes; with what Python needs for each, 32 MB
_OVERHEAD = 300  # bytes of a piece, its text apart
_SMALL = 2**12  # bytes of a piece that others are added to
_SOON = 10**9  # nanoseconds in which they must come, as they get its time
_MOST_SHOWN = 1024  # bytes of a line
_MARK = "…".encode()


class RingSpace:
    """The bytes that the rings of all jobs share."""

    def __init__(self, most: int = _MOST_TOGETHER) -> None:
        self._most = most
        self._rings: WeakSet[LineRing] = WeakSet()
        self.share = _MOST_EACH

    def make_ring(self) -> "LineRing":
        """Return a ring for one more job, which is in the space for as long as it lives."""
        ring = LineRing(self)
        self._rings.add(ring)
        # By powers of two: to look at all rings for each new one would take long.
        share = min(_MOST_EACH, self._most >> (len(self._rings) - 1).bit_length())
        if share != self.share:
            self.share = share
            for other in self._rings:
                other.trim()
        return ring


class LineRing:
    """The last lines of one job."""

    def __init__(self, space: RingSpace) -> None:
        self._space = space
        self._kept: deque[Lines] = deque()
        self._size = 0

    def add(self, lines: Lines) -> None:
        """Add what came last."""
        last = self._kept[-1] if self._kept else None
        if len(lines.text) > self._space.share:
            lines = _keep_end(lines, self._space.share)
        elif last is not None and _go_together(last, lines):
            self._size -= _measure(self._kept.pop())
            lines = attrs.evolve(last, text=last.text + lines.text)
        self._kept.append(lines)
        self._size += _measure(lines)
        self.trim()

    def trim(self) -> None:
        """Let go of the oldest lines, until the others fit into the share."""
        while self._size > self._space.share and len(self._kept) > 1:
            self._size -= _measure(self._kept.popleft())

    def list_last(self, count: int = _MOST_LINES, pid: int | None = None) -> list[bytes]:
        """Return the last lines, the latest last, without their ends; of a long one the beginning.

        Args:
            count: How many.
            pid: Of the run they must be from; None for any.
        """
        found: list[bytes] = []
        for lines in reversed(self._kept):
            if len(found) >= count or pid not in {None, lines.source.pid}:
                break
            pieces = lines.text[:-1].rsplit(b"\n", count)[-count:]
            found += reversed(pieces)
        return [_shorten(piece) for piece in reversed([*islice(found, count)])]


def _measure(lines: Lines) -> int:
    return len(lines.text) + _OVERHEAD


def _go_together(last: Lines, lines: Lines) -> bool:
    """Tell whether lines may be kept as if they had come with the last ones."""
    return (
        last.source is lines.source
        and len(last.text) < _SMALL
        and not (last.partial or lines.partial or lines.continues)
        and lines.time_ns - last.time_ns < _SOON
    )


def _keep_end(lines: Lines, size: int) -> Lines:
    """Return the last of many lines, of so many bytes; of one that is longer the beginning."""
    text, end = lines.text, len(lines.text) - 1
    begin = text.find(b"\n", end - size, end) + 1
    if not begin:
        begin = text.rfind(b"\n", 0, end) + 1
        return attrs.evolve(lines, text=text[begin:][:_MOST_SHOWN] + _MARK + b"\n", partial=())
    partial: tuple[int, ...] = ()
    if lines.partial:
        gone = text.count(b"\n", 0, begin)
        partial = tuple(index - gone for index in lines.partial if index >= gone)
    return attrs.evolve(lines, text=text[begin:], partial=partial, continues=False)


def _shorten(piece: bytes) -> bytes:
    return piece if len(piece) <= _MOST_SHOWN + len(_MARK) else piece[:_MOST_SHOWN] + _MARK
