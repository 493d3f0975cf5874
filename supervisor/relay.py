"""Carry what a job prints from its pipe to its sinks, until nobody has the pipe open any more.

A chunk is handled as a whole: one read, one look at the clock, one search for the ends of lines,
and one replacement for each sink. It is read only when all sinks have room for it, so that a job
whose sinks are slow waits on its pipe, and holds nothing here but the beginning of a line.

What a job that floods prints gathers for a millisecond before it is read, in a bigger pipe: as the
way to a sink costs the same for a big chunk as for a small one, and a job with a reader at its
heels writes at less than half its speed. Each write wakes that one, in the worst case on the same
processor, line by line; and both want the same page of the pipe.
"""

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf

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

_PIPE = 2**16  # bytes that a pipe holds at first
_ROOMY = 2**19  # bytes; what a job can print in a millisecond or two
_GATHER_S = 0.001  # between two reads from a job that floods; the event loop measures no less
_FLOOD, _MOST_READS = 8, 64  # reads in a row, none of them later than that; how many are counted
_TURN_S = 0.0005  # after which it is somebody else's turn, even if there is more
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
        self._pipe = _Pipe(fd, ways.traffic)
        self._source = source
        self._ways = ways
        self._splitter = LineSplitter(max_line)
        self._show_at = inf  # when what has come of a line is shown, even if more of it comes
        self._is_over = False

    async def run(self) -> None:
        """Write what comes to all sinks, until the end of the pipe; then until it is written."""
        try:
            while not self._pipe.at_end:
                await trio.lowlevel.checkpoint()
                await wait_for_all(self._ways.outlets)
                has_come = self._take()
                if not has_come:
                    self._pass_on()
                if self._pipe.may_gather:
                    await trio.sleep(_GATHER_S)
                elif not has_come:
                    await self._wait_readable()
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
        """Hand out what is there, as far as there is room; return whether it may not be all.

        The sinks begin to write after that: so they have more to write at a time.
        """
        until = time.monotonic() + _TURN_S
        while size := self._pipe.read():
            self._hand_out(self._splitter.feed(self._ways.traffic.buffer, size))
            is_full = any(outlet.is_full for outlet in self._ways.outlets)
            if not self._pipe.has_more or is_full or time.monotonic() >= until:
                break
        if self._splitter.is_inside_line:
            self._show_if_late()
        return size is not None

    def _show_if_late(self) -> None:
        """Show what has come of a line if that is due, and the pipe has not the rest of it."""
        now = trio.current_time()
        if self._show_at == inf:
            self._show_at = now + _PROMPT_S
        elif now >= self._show_at and not self._pipe.has_more:
            self._show_beginning()

    def _show_beginning(self) -> None:
        self._hand_out(self._splitter.cut(goes_on=True))
        if self._splitter.is_inside_line:
            self._show_at = trio.current_time() + _PROMPT_S

    def _hand_out(self, pieces: Pieces) -> None:
        if not pieces.text:
            self._pass_on()
            return
        self._show_at = inf  # what is not out has come just now
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

    def _pass_on(self) -> None:
        """Leave to others what room was waited for: there is nothing to put."""
        for outlet in self._ways.outlets:
            outlet.pass_on()

    async def _wait_readable(self) -> None:
        """Wait until there is something to read; not for ever if there is something to tell."""
        outlets = self._ways.outlets
        since = trio.current_time()
        while True:
            is_hurried = self._is_over or any(outlet.has_news for outlet in outlets)
            silent_at = since + _PROMPT_S if is_hurried else inf
            with trio.move_on_at(min(silent_at, self._show_at)):
                if await self._pipe.wait_readable():
                    return
                since = trio.current_time()  # from now on, silence is the end
                continue
            self._show_beginning()
            if trio.current_time() >= silent_at:
                break
        for outlet in outlets:
            outlet.tell_dropped()
        self._pipe.at_end = self._is_over

    def _tell_lost(self) -> None:
        """Tell how many lines nobody will get, if there are any."""
        buffer = self._ways.traffic.buffer
        lines, has_begun = 0, self._splitter.is_inside_line
        left = self._pipe.size  # as the job may go on
        while left > 0 and (size := self._pipe.read()):
            left -= size
            lines += buffer.count(b"\n", 0, size)
            has_begun = buffer[size - 1 : size] != b"\n"
        lines += has_begun
        if lines:
            facts = {"job": self._source.job, "channel": self._source.channel, "lines": lines}
            log.warning("job.output_lost", **facts)


class _Pipe:
    """The read end of a job's pipe, which grows when that is of use.

    Attributes:
        at_end: Whether nothing will come any more.
        has_more: Whether the last read left something there, as far as it can tell.
        may_gather: Whether the job floods, and the pipe has room for what it prints meanwhile.
        size: Bytes that it holds.
    """

    def __init__(self, fd: int, traffic: Traffic) -> None:
        os.set_blocking(fd, False)
        self.at_end = self.has_more = self.may_gather = False
        self._fd = fd
        self._traffic = traffic
        self.size = _PIPE
        with suppress(OSError):  # a small one where the user has too much in pipes already
            self.size = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
        self._lent = 0  # bytes
        self._is_fixed = False  # whether it has the size that it will keep
        self._reads = 0  # in a row
        self._read_at = 0.0  # by the monotonic clock
        self._is_waiting = False
        self._is_watched = False  # whether an epoll instance looks at it

    def read(self) -> int | None:
        """Read what is there into the buffer of all; return how many bytes, None if nothing is."""
        most = min(self._traffic.most_read, self.size)
        try:
            with memoryview(self._traffic.buffer)[:most] as room:
                size = os.readv(self._fd, [room])
        except BlockingIOError:
            if self.may_gather:
                self._reads //= 2  # the job may only wait for a processor: it takes a few times
            is_roomy = self.has_more and self.size >= _ROOMY
            self.may_gather = self._reads >= _FLOOD and (self.may_gather or is_roomy)
            self.has_more = False
            return None
        now = time.monotonic()
        is_next = self.may_gather or now < self._read_at + _GATHER_S
        self._reads = min(self._reads + 1, _MOST_READS) if is_next else self._reads // 2
        self._read_at = now
        self.at_end = not size
        self.has_more = size == most
        floods = self._reads >= _FLOOD
        if floods and size >= _PIPE // 2 and not self._is_fixed:
            self._grow()
        has_room = self.size >= _ROOMY or size < self.size // 2
        self.may_gather = floods and 0 < size < most and has_room
        if self.may_gather and self._is_watched:
            self._leave_epoll()
        return size

    def _grow(self) -> None:
        """Make it bigger, if enough is left of what all pipes may have together."""
        self._is_fixed = True
        lent = self._traffic.lend()
        # It is refused where the user has too much in pipes already.
        with suppress(OSError):
            if lent > self.size:
                self.size = fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, lent)
                self._lent = lent
        self._traffic.give_back(lent - self._lent)

    def _leave_epoll(self) -> None:
        """Have each write wake nobody, where nobody waits for it.

        An epoll instance is woken by each of them for as long as the pipe is open as it was when
        somebody waited, if only to find that nobody does: that is a fifth of what a line costs its
        writer. Here it is opened anew, with the same number.
        """
        self._is_watched = False  # nor is it tried again, before somebody has waited anew
        # There may be no /proc, no descriptor left, or no right to it once it is the container's.
        with suppress(OSError):
            fresh = os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.dup2(fresh, self._fd, inheritable=False)
            finally:
                os.close(fresh)

    async def wait_readable(self) -> bool:
        """Wait until there is something to read, and return whether there is, or `wake` came."""
        self._is_waiting = self._is_watched = True
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
        self._traffic.give_back(self._lent)
