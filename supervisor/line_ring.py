"""The last lines of each job, for whoever asks what it said.

They are kept as they came, many in one piece, and are looked at only when somebody asks. All jobs
together take no more than a fixed number of bytes; the more jobs there are, the less has each.
"""

from collections import deque
from weakref import WeakSet

import attrs

from .lines import Lines, Source

_MOST_LINES = 1000  # of a job
_MOST_EACH = 2**18  # bytes: 1,000 lines of 250
_MOST_TOGETHER = 16 * 2**20  # bytes: 16 kB for each of a thousand jobs
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


@attrs.frozen
class _Batch:
    """Where a part of the text came from."""

    size: int
    source: Source
    time_ns: int


class LineRing:
    """The last lines of one job."""

    def __init__(self, space: RingSpace) -> None:
        self._space = space
        # In one place that stays where it is: to keep a piece of each big chunk would leave holes
        # in the heap that are too small for the next one.
        self._text = bytearray()
        self._batches: deque[_Batch] = deque()

    def add(self, lines: Lines) -> None:
        """Add what came last."""
        text, share = lines.text, self._space.share
        if len(text) >= share:
            begin = _find_line(text, share)
            self._batches.clear()
            self._text[:] = memoryview(text)[begin : begin + share]
            self._batches.append(_Batch(len(self._text), lines.source, lines.time_ns))
            return
        self._text += text
        last = self._batches[-1] if self._batches else None
        size = len(text)
        if last is not None and _go_together(last, lines):
            size, time_ns = size + last.size, self._batches.pop().time_ns
        else:
            time_ns = lines.time_ns
        self._batches.append(_Batch(size, lines.source, time_ns))
        self.trim()

    def trim(self) -> None:
        """Let go of the oldest lines, until the others fit into the share."""
        excess = len(self._text) + _OVERHEAD * len(self._batches) - self._space.share
        gone = 0
        while excess > 0 and len(self._batches) > 1:
            size = self._batches.popleft().size
            gone += size
            excess -= size + _OVERHEAD
        if gone:
            del self._text[:gone]

    def list_last(self, count: int = _MOST_LINES, pid: int | None = None) -> list[bytes]:
        """Return the last lines, the latest last, without their ends; of a long one the beginning.

        Args:
            count: How many.
            pid: Of the run they must be from; None for any.
        """
        begin = end = len(self._text)
        for batch in reversed(self._batches):
            if pid not in {None, batch.source.pid}:
                break
            begin -= batch.size
        text = bytes(self._text[begin:end])
        pieces = text.removesuffix(b"\n").rsplit(b"\n", count)[-count:] if text else []
        return [_shorten(piece) for piece in pieces]


def _go_together(last: _Batch, lines: Lines) -> bool:
    """Tell whether lines may be kept as if they had come with the last ones."""
    return (
        last.source is lines.source and last.size < _SMALL and lines.time_ns - last.time_ns < _SOON
    )


def _find_line(text: bytes, size: int) -> int:
    """Return where the last lines begin that have so many bytes together; the last one if none."""
    last = len(text) - 1
    return text.find(b"\n", last - size, last) + 1 or text.rfind(b"\n", 0, last) + 1


def _shorten(piece: bytes) -> bytes:
    return piece if len(piece) <= _MOST_SHOWN else piece[:_MOST_SHOWN] + _MARK
