"""The last lines of each job, for whoever asks what it said.

They are kept as they came, many in one piece, and are looked at only when somebody asks. All jobs
together take no more than a fixed number of bytes; the more jobs there are, the less has each.
"""

import mmap
from collections import deque
from itertools import islice
from weakref import WeakSet

import attrs

from .lines import Lines, Source

_MOST_LINES = 1000  # of a job
_MOST_EACH = 2**18  # bytes: 1,000 lines of up to 190, as a quarter is let go at a time
_MOST_TOGETHER = 16 * 2**20  # bytes: 16 kB for each of a thousand jobs
_OVERHEAD = 600  # bytes; twice what a batch takes, its text apart
_SMALL = 2**12  # bytes of a batch that others are added to
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
        self._batches: deque[_Batch] = deque()
        self._size = 0  # bytes of all of them
        # Not from the heap: there, what is kept of each big chunk would stay here and there, and
        # what is between that would be too small for the next chunk.
        self._memory: mmap.mmap | None = None

    def add(self, lines: Lines) -> None:
        """Add what came last; nothing happens where there is no memory to be had."""
        text, time_ns, share = memoryview(lines.text), lines.time_ns, self._space.share
        if len(text) > share:
            text = text[_find_line(lines.text, share) :][:share]
        self._let_go(share - len(text))
        try:
            memory = self._provide(share)
        except OSError:
            return
        size = len(text)
        memory[self._size : self._size + size] = text
        self._size += size
        if self._batches and _go_together(self._batches[-1], lines):
            last = self._batches.pop()
            size, time_ns = size + last.size, last.time_ns
        self._batches.append(_Batch(size, lines.source, time_ns))

    def trim(self) -> None:
        """Let go of the oldest lines, until the others fit into the share."""
        self._let_go(self._space.share)
        if self._memory is not None:
            self._provide(self._space.share)

    def list_last(self, count: int = _MOST_LINES, pid: int | None = None) -> list[bytes]:
        """Return the last lines, the latest last, without their ends; of a long one the beginning.

        Args:
            count: How many.
            pid: Of the run they must be from; None for any.
        """
        begin = self._size
        for batch in reversed(self._batches):
            if pid not in {None, batch.source.pid}:
                break
            begin -= batch.size
        if self._memory is None or begin == self._size:
            return []
        text = self._memory[begin : self._size].removesuffix(b"\n")
        return [_shorten(piece) for piece in text.rsplit(b"\n", count)[-count:]]

    def _let_go(self, most: int) -> None:
        """Let go of the oldest lines, if there are more bytes than that, or too many batches."""
        gone = 0
        if self._memory is not None and self._size > most:
            # Some more, not to do this for each line.
            enough = self._size - most + most // 4
            gone = self._memory.find(b"\n", max(enough - 1, 0), self._size) + 1 or self._size
        elif len(self._batches) > self._space.share // _OVERHEAD:
            gone = sum(batch.size for batch in islice(self._batches, len(self._batches) // 4))
        if self._memory is None or not gone:
            return
        self._size -= gone
        self._memory.move(0, gone, self._size)
        while gone:
            batch = self._batches.popleft()
            if batch.size > gone:
                self._batches.appendleft(attrs.evolve(batch, size=batch.size - gone))
            gone -= min(batch.size, gone)

    def _provide(self, size: int) -> mmap.mmap:
        """Return memory of this size, with what is kept."""
        old = self._memory
        if old is not None and len(old) == size:
            return old
        new = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if old is not None:
            new[: self._size] = old[: self._size]
            old.close()
        self._memory = new
        return new


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
