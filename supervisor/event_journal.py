"""The supervisor's own events on their way to the journal.

They are sent at once, from the event loop, because sending never waits. If journald does not keep
up they are kept until it does; if it is not there they go to stderr, so that none is lost with it.
"""

import errno
from collections import deque
from itertools import islice
from typing import NamedTuple

import structlog
import trio

from mocker.isolation.errors import render_reason

from .output import Output
from .sink_journald import Journal

log = structlog.get_logger("mocker.log")

_MOST_KEPT = 2**23  # bytes, while journald stands still
_AT_ONCE = 64  # events


class _Event(NamedTuple):
    entry: bytes
    line: bytes


class EventJournal:
    """Takes events for the journal.

    Attributes:
        supervisor: Its name.
    """

    def __init__(self, supervisor: str, journal: Journal, stderr: Output) -> None:
        """Connect at the first event.

        Args:
            supervisor: Its name.
            journal: Used by nobody else.
            stderr: Gets what the journal does not.
        """
        self.supervisor = supervisor
        self._journal = journal
        self._stderr = stderr
        self._kept: deque[_Event] = deque()
        self._size = 0  # bytes in it
        self._is_broken = False
        self._arrival = trio.Event()
        self._progress = trio.Event()

    def put(self, entry: bytes, line: bytes) -> None:
        """Send one event as soon as possible.

        Args:
            entry: For the journal.
            line: The same for stderr, with its newline.
        """
        if self._size + len(entry) > _MOST_KEPT:
            self._stderr.put(line)
            return
        self._kept.append(_Event(entry, line))
        self._size += len(entry)
        if len(self._kept) == 1:
            self._send()
        if self._kept:
            self._arrival.set()

    async def run(self) -> None:
        """Send what journald has not taken at once, until cancelled."""
        while True:
            await self._arrival.wait()
            self._arrival = trio.Event()
            while self._kept and self._journal.fd is not None:
                await trio.lowlevel.wait_writable(self._journal.fd)
                self._send()
            self._progress.set()
            self._progress = trio.Event()

    async def drain(self, patience: float) -> None:
        """Wait until journald has taken everything; what it has not in time goes to stderr.

        Args:
            patience: Seconds to wait at most.
        """
        with trio.move_on_after(patience):
            await trio.lowlevel.checkpoint()
            while self._kept:
                await self._progress.wait()
        self._give_up()

    def _send(self) -> None:
        error: OSError | None = None
        while self._kept and error is None:
            entries = [event.entry for event in islice(self._kept, _AT_ONCE)]
            left, error = self._journal.write(entries)
            for entry in entries[: len(entries) - len(left)]:
                self._kept.popleft()
                self._size -= len(entry)
        was_broken = self._is_broken
        self._is_broken = error is not None and error.errno != errno.EAGAIN
        if error is not None and self._is_broken:
            if not was_broken:
                reason = f"cannot reach journald{render_reason(error.errno or 0)}"
                log.error("sink.failed", **self._describe(), reason=reason)
            self._give_up()
        elif was_broken:
            log.info("sink.recovered", **self._describe())

    def _describe(self) -> dict[str, str]:
        return {"sink": "journald", "path": self._journal.path}

    def _give_up(self) -> None:
        while self._kept:
            self._stderr.put(self._kept.popleft().line)
        self._size = 0
