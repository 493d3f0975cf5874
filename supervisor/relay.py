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

from .line_ring import LineRing
from .line_splitter import LineSplitter, Pieces
from .lines import Lines, Source
from .outlets import Outlet, wait_room
from .sinks import Traffic

log = structlog.get_logger("mocker.jobs")

_CHUNK = 2**16  # bytes; what a pipe holds
_BIG_PIPE = 2**18  # bytes; a quarter of what an ordinary user may ask for, and as fast
_FULL_READS = 4  # in a row, after which a pipe is made bigger
_SMALL_CHUNK = 2**14  # bytes; for each of a thousand jobs that wait for a sink
_PROMPT_S = 1.0  # after which the beginning of a line is shown: it may be a question
_FLUSH_S = 1.0  # for what is on its way when a run has ended, which is told after that


@attrs.frozen
class Ways:
    """Where the lines of a channel go.

    Attributes:
        outlets: To its sinks; closed at the end.
        ring: Keeps the last ones.
        traffic: What all sinks share.
        seen: Is called with lines as they come, one or more with newlines between them.
    """

    outlets: Sequence[Outlet]
    ring: LineRing
    traffic: Traffic
    seen: Callable[[bytes], None] | None = None


async def relay_lines(fd: int, source: Source, ways: Ways, max_line: int) -> None:
    """Write what comes from a pipe to all sinks.

    A line that is too long comes in pieces, and so does one that has no end after a second.

    Args:
        fd: The read end of a pipe, which is closed at the end.
        source: Which channel this is.
        ways: Where to.
        max_line: Bytes of a line.
    """
    os.set_blocking(fd, False)
    relay = _Relay(source, ways, max_line)
    pipe = _Pipe(fd)
    try:
        while True:
            await trio.lowlevel.checkpoint()
            await wait_room(ways.outlets)
            chunk = pipe.read(_SMALL_CHUNK if ways.traffic.is_heavy else _BIG_PIPE)
            if chunk:
                relay.hand_out(relay.splitter.feed(chunk))
            elif chunk is not None:
                break
            elif not await _wait_readable(fd, relay.splitter):
                relay.hand_out(relay.splitter.cut())
        relay.hand_out(relay.splitter.cut())
        for outlet in ways.outlets:
            await outlet.sink.flush(_FLUSH_S)
    except trio.Cancelled:
        relay.tell_lost(pipe.read(_BIG_PIPE) or b"")
        raise
    finally:
        pipe.close()
        for outlet in ways.outlets:
            outlet.close()


class _Pipe:
    """The pipe of a job, which grows when that is of use."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = _CHUNK
        self._next = _CHUNK
        self._full_reads = 0

    def read(self, most: int) -> bytes | None:
        """Return what is there, at most so many bytes; b"" at the end, None if nothing is."""
        try:
            chunk = os.read(self._fd, min(most, self._next))
        except BlockingIOError:
            return None
        if len(chunk) < _CHUNK:
            self._full_reads = 0
            self._next = _CHUNK
            return chunk
        self._full_reads += 1
        if self._full_reads == _FULL_READS and self._size == _CHUNK:
            # It is refused where the user has too much in pipes already.
            with suppress(OSError):
                self._size = fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _BIG_PIPE)
        self._next = self._size
        return chunk

    def close(self) -> None:
        os.close(self._fd)


class _Relay:
    """What is done with each batch of lines."""

    def __init__(self, source: Source, ways: Ways, max_line: int) -> None:
        self.splitter = LineSplitter(max_line)
        self._source = source
        self._ways = ways

    def hand_out(self, pieces: Pieces) -> None:
        if not pieces.text:
            return
        text, partial, continues = pieces
        lines = Lines(self._source, text, partial, time.time_ns(), continues)
        self._ways.ring.add(lines)
        if self._ways.seen is not None:
            self._ways.seen(text[:-1])
        for outlet in self._ways.outlets:
            outlet.put(lines)

    def tell_lost(self, rest: bytes) -> None:
        """Tell how many lines nobody will get, if there are any."""
        lines = rest.count(b"\n") + (self.splitter.is_inside_line or rest[-1:] not in {b"", b"\n"})
        if lines:
            facts = {"job": self._source.job, "channel": self._source.channel, "lines": lines}
            log.warning("job.output_lost", **facts)


async def _wait_readable(fd: int, splitter: LineSplitter) -> bool:
    """Wait until there is something to read; if a line has begun, not for ever: tell whether."""
    with trio.move_on_after(_PROMPT_S if splitter.is_inside_line else float("inf")):
        await trio.lowlevel.wait_readable(fd)
        return True
    return False
