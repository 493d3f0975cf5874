"""The last lines of each job, for whoever asks what it said.

They are kept as they came, many in one piece, and are looked at only when somebody asks. What comes
is written behind what came before, from the beginning again at the end of the memory, so that it is
copied once, and nothing is let go but what it is written over. All jobs together take no more than
a fixed number of bytes; the more jobs there are, the less has each.
"""

import mmap
from array import array
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from weakref import WeakSet

import attrs

from .kept_lines import MOST_WAIT, REACH, KeptLines, drop_parts
from .lines import Lines, Source

_MOST_LINES = 1000  # that are given where nobody says how many
_MOST_EACH = 2**20  # bytes: 1,000 lines of 1 kB
_MOST_TOGETHER = 12 * 2**20  # bytes: 12 kB for each of a thousand jobs
_OVERHEAD = 600  # bytes that a batch takes at most, its text apart
_MOST_LATER = 32  # parts that are added to one: more than half of the overhead
_MOST_SHOWN = 1024  # bytes of a line
_MARK = "…".encode()


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


@attrs.define
class _Batch:
    """Where some of the text came from.

    Attributes:
        begin: Its first byte, as a count of those that came before it.
        source: Where from.
        time_ns: When its first part came.
        partial: Which pieces are only a part of a line, as `Lines` has it, but counted from the
            last one, which is -1: the first ones may be gone.
        later: The other parts, as `KeptLines` has them.
    """

    begin: int
    source: Source
    time_ns: int
    partial: tuple[int, ...]
    later: "array[int]"

    def add(self, begin: int, lines: Lines) -> bool:
        """Have lines come with the others, if they can; tell whether."""
        place, wait_ns = begin - self.begin, lines.time_ns - self.time_ns
        if (
            self.source is not lines.source
            or lines.partial
            or self.partial
            or place >= REACH
            or len(self.later) == _MOST_LATER
            or not 0 <= wait_ns < MOST_WAIT
        ):
            return False
        number = wait_ns * REACH + place
        if self.later and number < self.later[-1]:
            return False  # somebody has set the clock back
        self.later.append(number)
        return True


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
        memory = self._open_memory(share)
        if memory is None:
            return
        if not batches or not batches[-1].add(self._end, lines):
            batches.append(_make_batch(self._end, lines, array("Q")))
        self._write(memory, text)

    def fit(self) -> None:
        """Keep the last lines that fit into the share, which has changed."""
        share, before = self._space.share, self.list_batches()
        self.clear()
        for kept in before:
            if len(kept.lines.text) >= share:
                for lines in kept.split():
                    self.add(lines)
            elif (memory := self._open_memory(share)) is not None:
                self._batches.append(_make_batch(self._end, kept.lines, kept.later))
                self._write(memory, kept.lines.text)

    def clear(self) -> None:
        """Keep nothing of what came until now."""
        self._batches.clear()
        self._end = 0
        self._memory = None

    def list_batches(self) -> list[KeptLines]:
        """Return all that is kept, in as few pieces as possible, the latest last."""
        return list(self._walk())[::-1]

    def list_last(self, count: int = _MOST_LINES, pid: int | None = None) -> list[bytes]:
        """Return the last lines without their ends, of long ones the beginning; the latest last.

        Args:
            count: How many.
            pid: Of the run they must be from; None for any.
        """
        found: list[bytes] = []
        for kept in self._walk():
            missing = count - len(found)
            if missing <= 0 or pid not in {None, kept.lines.source.pid}:
                break
            pieces = kept.lines.text[:-1].rsplit(b"\n", missing)[-missing:]
            found += map(_shorten, reversed(pieces))
        return found[::-1]

    def _open_memory(self, share: int) -> mmap.mmap | None:
        """Return where text is kept; None where there is no memory to be had."""
        if self._memory is None:
            with suppress(OSError):
                self._memory = mmap.mmap(-1, share, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return self._memory

    def _write(self, memory: mmap.mmap, text: bytes | memoryview) -> None:
        """Write the text of the last batch, and let go of what was there."""
        batches, share = self._batches, len(memory)
        place = self._end % share
        room, size = share - place, len(text)
        if size <= room:
            memory[place : place + size] = text
        else:
            with memoryview(text) as view:
                memory[place:] = view[:room]
                memory[: size - room] = view[room:]
        self._end += size
        most, oldest = share // _OVERHEAD, self._end - share
        while len(batches) > 1 and (batches[1].begin <= oldest or len(batches) > most):
            batches.popleft()

    def _walk(self) -> Iterator[KeptLines]:
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
                yield _make_kept(batch, text, end - len(text) - batch.begin)
            end = batch.begin


def _make_batch(begin: int, lines: Lines, later: "array[int]") -> _Batch:
    count = lines.text.count(b"\n") if lines.partial else 0
    partial = tuple(index - count for index in lines.partial)
    return _Batch(begin, lines.source, lines.time_ns, partial, later)


def _make_kept(batch: _Batch, text: bytes, gone: int) -> KeptLines:
    """Return what is kept of a batch, of which the first so many bytes are gone."""
    count = text.count(b"\n") if batch.partial else 0
    partial = tuple(index + count for index in batch.partial if index + count >= 0)
    time_ns, later = batch.time_ns, batch.later[:]
    if gone and later:
        time_ns, later = drop_parts(time_ns, later, gone)
    return KeptLines(Lines(batch.source, text, partial, time_ns), later)


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
