"""Carry what a job prints from its pipe to the output, line by line, until nobody has it open.

A chunk is handled as a whole: one read, one search for the ends of lines, one prefix for all of
them, one write. Nothing is kept but the beginning of a line and the last few lines, however much a
job prints.
"""

import os
from collections import deque
from collections.abc import Callable

import trio

from .line_splitter import MARK, LineSplitter
from .output import Output

_CHUNK = 2**16  # bytes; what a pipe holds
_PROMPT_S = 1.0  # after which the beginning of a line is shown: it may be a question
_MOST_KEPT = 1024  # bytes of a line in a tail


class LineTail:
    """The last lines of a run, for whoever wants to know why it failed."""

    def __init__(self, count: int) -> None:
        self._lines: deque[bytes] = deque(maxlen=count)
        self._count = count

    def add(self, text: bytes) -> None:
        """Add whole lines, each ended by a newline."""
        for line in text[:-1].rsplit(b"\n", self._count)[-self._count :]:
            self._lines.append(line if len(line) <= _MOST_KEPT else line[:_MOST_KEPT] + MARK)

    def lines(self) -> list[bytes]:
        """Return them, the latest last, without their ends; the rest of a long one is left out."""
        return list(self._lines)


async def relay_lines(
    fd: int,
    *,
    prefix: bytes,
    output: Output,
    tail: LineTail,
    seen: Callable[[bytes], None] | None = None,
) -> None:
    """Write what comes from a pipe to the output, with a prefix before each line.

    Bytes stay as they are. A line over 16 KiB comes in pieces, and so does one that stays without
    its end for a second; each piece but the last ends in "…". A last line without an end gets one.

    Args:
        fd: The read end of a pipe, which is closed at the end.
        prefix: Such as b"web | ".
        output: Where to.
        tail: Gets the lines as well.
        seen: Is called with lines as they come, one or more with newlines between them.
    """
    os.set_blocking(fd, False)
    splitter = LineSplitter()
    with open(fd, "rb", buffering=0) as pipe:  # noqa: ASYNC230 - it does not block
        at_end = False
        while not at_end:
            chunk = pipe.read(_CHUNK)
            if chunk:
                text = splitter.feed(chunk)
            elif chunk is not None:
                text, at_end = splitter.finish(), True
            elif await _wait_readable(fd, _PROMPT_S if splitter.is_inside_line else None):
                continue
            else:
                text = splitter.cut()
            if not text:
                continue
            tail.add(text)
            lines = text[:-1]
            if seen is not None:
                seen(lines)
            await output.write(prefix + lines.replace(b"\n", b"\n" + prefix) + b"\n")


async def _wait_readable(fd: int, patience: float | None) -> bool:
    """Wait until there is something to read, and return whether there is."""
    with trio.move_on_after(float("inf") if patience is None else patience):
        await trio.lowlevel.wait_readable(fd)
        return True
    return False
