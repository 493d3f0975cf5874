"""Carry what a job prints from its pipe to its sinks, until nobody has the pipe open any more.

A chunk is handled as a whole: one read, one look at the clock, one search for the ends of lines,
and one replacement for each sink. It is read only when all sinks have room for it, so that a job
whose sinks are slow waits on its pipe, and holds nothing here but the beginning of a line.

A job that fills its pipe gets a bigger one: as each way from it to a sink costs the same for a big
chunk as for a small one, and so does each change from the job to the supervisor and back.
"""

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import attrs
import structlog
import trio

from .feeds import Feed
from .line_ring import LineRing
from .line_splitter import LineSplitter, Pieces
from .lines import Lines, Source
from .outlets import Outlet, wait_for_all
from .tally import Tally
from .traffic import Traffic

log = structlog.get_logger("mocker.jobs")

_CHUNK = 2**16  # bytes; what a pipe holds
_BIG_PIPE = 2**18  # bytes; a quarter of what an ordinary user may ask for, and as fast
_FULL_READS = 4  # in a row, after which a pipe is made bigger
_PROMPT_S = 1.0  # after which the beginning of a line is shown: it may be a question
_FLUSH_S = 0.5  # for what is on its way when a run has ended, which is told after that


@attrs.frozen
class Ways:
    """Where the lines of a channel go.

    Attributes:
        outlets: To its sinks; closed at the end.
        ring: Keeps the last ones.
        traffic: What all sinks share.
        seen: Is called with lines as they come, one or more with newlines between them.
        feed: Is for those who follow the job; None if nobody can.
        tally: Counts them.
    """

    outlets: Sequence[Outlet]
    ring: LineRing
    traffic: Traffic
    seen: Callable[[bytes], None] | None = None
    feed: Feed | None = None
    tally: Tally = attrs.field(factory=Tally)


class Relay:
    """What carries the lines of one channel of a run.

    A line that is too long comes in pieces, and so does one that has no end after a second.
    """

    def __init__(self, fd: int, source: Source, ways: Ways, max_line: int) -> None:
        """Take a channel over.

        Args:
            fd: The read end of its pipe, which `run` closes.
            source: Which channel it is.
            ways: Where to.
            max_line: Bytes of a line.
        """
        self._pipe = _Pipe(fd)
        self._source = source
        self._ways = ways
        self._splitter = LineSplitter(max_line)
        self._is_over = False

    async def run(self) -> None:
        """Write what comes to all sinks, until the end of the pipe; then until it is written."""
        try:
            while not self._pipe.at_end:
                await trio.lowlevel.checkpoint()
                await wait_for_all(self._ways.outlets)
                if not self._take() and not await self._wait_readable():
                    self._hand_out(self._splitter.cut())
            self._hand_out(self._splitter.cut())
            for outlet in self._ways.outlets:
                await outlet.flush(_FLUSH_S)
        except trio.Cancelled:
            self._tell_lost()
            raise
        finally:
            self._pipe.close()
            for outlet in self._ways.outlets:
                outlet.close()

    def end_when_silent(self) -> None:
        """Take the pipe to be at its end after a second in which nothing came."""
        self._is_over = True
        self._pipe.wake()

    def _take(self) -> bool:
        """Hand out what is there; return whether anything was, or it is the end."""
        traffic = self._ways.traffic
        size = self._pipe.read(traffic.buffer, traffic.most_read)
        if size:
            self._hand_out(self._splitter.feed(traffic.buffer, size))
        return size is not None

    def _hand_out(self, pieces: Pieces) -> None:
        if not pieces.text:
            return
        text, partial, continues = pieces
        lines = Lines(self._source, text, partial, time.time_ns(), continues)
        self._ways.ring.add(lines)
        self._ways.tally.add(lines)
        if self._ways.seen is not None:
            self._ways.seen(text[:-1])
        if self._ways.feed is not None:
            self._ways.feed.put(lines)
        for outlet in self._ways.outlets:
            outlet.put(lines)

    async def _wait_readable(self) -> bool:
        """Wait until there is something to read, not for ever if a line has begun; tell whether."""
        while True:
            outlets = self._ways.outlets
            has_news = any(outlet.has_news for outlet in outlets)
            is_hurried = self._splitter.is_inside_line or self._is_over or has_news
            with trio.move_on_after(_PROMPT_S if is_hurried else float("inf")):
                if await self._pipe.wait_readable():
                    return True
                continue
            for outlet in outlets:
                outlet.tell_dropped()
            self._pipe.at_end = self._is_over
            return False

    def _tell_lost(self) -> None:
        """Tell how many lines nobody will get, if there are any."""
        buffer = self._ways.traffic.buffer
        size = self._pipe.read(buffer, len(buffer)) or 0
        has_begun = buffer[size - 1 : size] != b"\n" if size else self._splitter.is_inside_line
        lines = buffer.count(b"\n", 0, size) + has_begun
        if lines:
            facts = {"job": self._source.job, "channel": self._source.channel, "lines": lines}
            log.warning("job.output_lost", **facts)


class _Pipe:
    """The read end of a job's pipe, which grows when that is of use.

    Attributes:
        at_end: Whether nothing will come any more.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.at_end = False
        self._fd = fd
        self._size = _CHUNK
        self._next = _CHUNK
        self._full_reads = 0
        self._is_waiting = False

    def read(self, buffer: bytearray, most: int) -> int | None:
        """Read what is there, at most so many bytes; return how many, None if nothing is."""
        try:
            with memoryview(buffer)[: min(most, self._next)] as room:
                size = os.readv(self._fd, [room])
        except BlockingIOError:
            return None
        if size < _CHUNK:
            self.at_end = not size
            self._full_reads = 0
            self._next = _CHUNK
            return size
        self._full_reads += 1
        if self._full_reads == _FULL_READS and self._size == _CHUNK:
            # It is refused where the user has too much in pipes already.
            with suppress(OSError):
                self._size = fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _BIG_PIPE)
        self._next = self._size
        return size

    async def wait_readable(self) -> bool:
        """Wait until there is something to read, and return whether there is, or `wake` came."""
        self._is_waiting = True
        try:
            await trio.lowlevel.wait_readable(self._fd)
        except trio.ClosedResourceError:
            return False
        finally:
            self._is_waiting = False
        return True

    def wake(self) -> None:
        """Let nobody wait."""
        if self._is_waiting:
            trio.lowlevel.notify_closing(self._fd)

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)
