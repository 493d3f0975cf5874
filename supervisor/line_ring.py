"""The last lines of each job, for whoever asks what it said.

They are kept as they came, many in one piece, and are looked at only when somebody asks. What comes
is written behind what came before, from the beginning again at the end of the memory, so that it is
copied once, and nothing is let go but what it is written over. All jobs together take no more than
a fixed number of bytes; the more jobs there are, the less has each.
"""

import mmap
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple
from weakref import WeakSet

import attrs

from .lines import Lines, Source

_MOST_LINES = 1000  # that are given where nobody says how many
_MOST_EACH = 2**20  # bytes: 1,000 lines of 1 kB
_MOST_TOGETHER = 12 * 2**20  # bytes: 12 kB for each of a thousand jobs
_OVERHEAD = 600  # bytes; twice what a batch takes, its text apart
_SMALL = 2**12  # bytes of a batch that others are added to
_SOON = 10**9  # nanoseconds in which they must come, as they get its time
_MOST_SHOWN = 1024  # bytes of a line
_MARK = "…".encode()


class KeptLine(NamedTuple):
    """One of the last lines.

    Attributes:
        time_ns: When it came, since the epoch; up to a second too early, where lines came one soon
            after the other.
        source: Where from.
        text: Without its end; of a long one the beginning.
    """

    time_ns: int
    source: Source
    text: bytes


class RingSpace:
    """The bytes that the rings of all jobs share."""

    def __init__(self, most: int = _MOST_TOGETHER) -> None:
        self._most = most
        self._rings: WeakSet[LineRing] = WeakSet()
        self.share = min(_MOST_EACH, most)

    def make_ring(self) -> "LineRing":
        """Return a ring for one more job, which is in the space for as long as it lives."""
        ring = LineRing(self)
        self._rings.add(ring)
        # By powers of two: to look at all rings for each new one would take long.
        share = min(_MOST_EACH, self._most >> (len(self._rings) - 1).bit_length())
        if share != self.share:
            self.share = share
            for other in self._rings:
                other.fit()
        return ring


@attrs.frozen
class _Batch:
    """Where a part of the text came from.

    Attributes:
        begin: Its first byte, as a count of those that came before it.
        source: Where from.
        time_ns: When.
        partial: Which pieces are only a part of a line, as `Lines` has it, but counted from the
            last one, which is -1: the first ones may be gone.
    """

    begin: int
    source: Source
    time_ns: int
    partial: tuple[int, ...] = ()


class LineRing:
    """The last lines of one job."""

    def __init__(self, space: RingSpace) -> None:
        self._space = space
        self._batches: deque[_Batch] = deque()  # the text of the first may be there in part
        self._end = 0  # bytes that came; each has its place in the memory: its number modulo share
        # Not from the heap: it is used only as far as something came, and leaves no hole there.
        self._memory: mmap.mmap | None = None

    def add(self, lines: Lines) -> None:
        """Add what came last; nothing happens where there is no memory to be had."""
        share, batches = self._space.share, self._batches
        text: bytes | memoryview = lines.text
        if len(text) >= share:
            text = _take_end(lines.text, share - 1)
            batches.clear()  # there would be a gap between that and what is left of this
        if self._memory is None:
            try:
                self._memory = mmap.mmap(-1, share, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            except OSError:
                return
        if not batches or not self._goes_with(batches[-1], lines):
            batches.append(_make_batch(self._end, lines))
        place = self._end % share
        room, size = share - place, len(text)
        if size <= room:
            self._memory[place : place + size] = text
        else:
            with memoryview(text) as view:
                self._memory[place:] = view[:room]
                self._memory[: size - room] = view[room:]
        self._end += size
        most, oldest = share // _OVERHEAD, self._end - share
        while len(batches) > 1 and (batches[1].begin <= oldest or len(batches) > most):
            batches.popleft()

    def fit(self) -> None:
        """Keep the last lines that fit into the share, which has changed."""
        kept = self.list_batches()
        self.clear()
        for lines in kept:
            self.add(lines)

    def clear(self) -> None:
        """Keep nothing of what came until now."""
        self._batches.clear()
        self._end = 0
        self._memory = None

    def list_batches(self) -> list[Lines]:
        """Return all that is kept, in as few pieces as possible, the latest last."""
        return [_make_lines(batch, text) for batch, text in self._walk()][::-1]

    def list_last(self, count: int = _MOST_LINES, pid: int | None = None) -> list[bytes]:
        """Return the text of the last lines, the latest last, as `list_lines` has it."""
        return [line.text for line in self.list_lines(count, pid)]

    def list_lines(self, count: int = _MOST_LINES, pid: int | None = None) -> list[KeptLine]:
        """Return the last lines, the latest last.

        Args:
            count: How many.
            pid: Of the run they must be from; None for any.
        """
        found: list[KeptLine] = []
        for batch, text in self._walk():
            missing = count - len(found)
            if missing <= 0 or pid not in {None, batch.source.pid}:
                break
            pieces = text[:-1].rsplit(b"\n", missing)[-missing:]
            found += [
                KeptLine(batch.time_ns, batch.source, _shorten(piece)) for piece in reversed(pieces)
            ]
        return found[::-1]

    def _goes_with(self, last: _Batch, lines: Lines) -> bool:
        """Tell whether lines may be kept as if they had come with the last ones."""
        return (
            last.source is lines.source
            and not (lines.partial or last.partial)
            and self._end - last.begin < _SMALL
            and lines.time_ns - last.time_ns < _SOON
        )

    def _walk(self) -> Iterator[tuple[_Batch, bytes]]:
        """Yield what is kept of each batch, whole lines, the latest first."""
        if self._memory is None:
            return
        most, end = len(self._memory), self._end
        for batch in reversed(self._batches):
            begin = max(batch.begin, self._end - most)
            place = begin % most
            text = self._memory[place : place + end - begin]
            text += self._memory[: end - begin - len(text)]
            if begin > batch.begin:
                text = text[text.index(b"\n") + 1 :]
            if text:
                yield batch, text
            end = batch.begin


def _make_batch(begin: int, lines: Lines) -> _Batch:
    count = lines.text.count(b"\n") if lines.partial else 0
    partial = tuple(index - count for index in lines.partial)
    return _Batch(begin, lines.source, lines.time_ns, partial)


def _make_lines(batch: _Batch, text: bytes) -> Lines:
    """Return what is kept of a batch."""
    count = text.count(b"\n") if batch.partial else 0
    partial = tuple(index + count for index in batch.partial if index + count >= 0)
    return Lines(batch.source, text, partial, batch.time_ns)


def _take_end(text: bytes, most: int) -> bytes | memoryview:
    """Return the last whole lines that have so many bytes together; of a longer one what fits."""
    last = len(text) - 1
    begin = text.find(b"\n", last - most, last) + 1
    if begin:
        return memoryview(text)[begin:]
    begin = text.rfind(b"\n", 0, last) + 1
    return text[begin : begin + most - 1] + b"\n"


def _shorten(piece: bytes) -> bytes:
    return piece if len(piece) <= _MOST_SHOWN else piece[:_MOST_SHOWN] + _MARK
