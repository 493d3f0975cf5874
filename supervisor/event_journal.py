"""The supervisor's own events on their way to the journal.

They are sent at once, from the event loop, because sending never waits. If journald does not keep
up they are kept until it does; if it is not there they go to stderr, so that none is lost with it.
So does the word that it takes nothing: there may be room for that, and nobody who reads it.
"""

import errno
from collections import deque
from itertools import islice
from typing import NamedTuple

import trio

from .outage import Outage
from .output import Output
from .sink_health import render_error
from .sink_journald import Journal

_MOST_KEPT = 2**23  # bytes, while journald stands still
_AT_ONCE = 64  # events
_STALL_S = 5.0  # for which journald may take nothing without a word about it


class _Event(NamedTuple):
    entry: bytes
    line: bytes


class EventJournal:
    """Takes events for the journal.

    Attributes:
        supervisor: Its name.
    """

    def __init__(self, supervisor: str, journal: Journal, stderr: Output, outage: Outage) -> None:
        """Connect at the first event.

        Args:
            supervisor: Its name.
            journal: Used by nobody else.
            stderr: Gets what the journal does not.
            outage: Of journald, whoever writes to it.
        """
        self.supervisor = supervisor
        self._journal = journal
        self._stderr = stderr
        self._outage = outage
        self._kept: deque[_Event] = deque()
        self._size = 0  # bytes in it
        self._arrival = trio.Event()
        self._progress = trio.Event()

    def put(self, entry: bytes, line: bytes) -> None:
        """Send one event as soon as possible.

        Args:
            entry: For the journal.
            line: The same for stderr, with its newline.
        """
        if self._outage.is_being_told or self._size + len(entry) > _MOST_KEPT:
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
                with trio.move_on_after(_STALL_S) as wait:
                    await trio.lowlevel.wait_writable(self._journal.fd)
                if not self._send() and wait.cancelled_caught:
                    self._outage.begin(self, f"it has taken nothing for {_STALL_S:g} s")
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

    def _send(self) -> bool:
        """Send what journald takes, and return whether that is anything."""
        error: OSError | None = None
        before = len(self._kept)
        while self._kept and error is None:
            entries = [event.entry for event in islice(self._kept, _AT_ONCE)]
            left, error = self._journal.write(entries)
            for entry in entries[: len(entries) - len(left)]:
                self._kept.popleft()
                self._size -= len(entry)
        has_moved = len(self._kept) < before
        if error is not None and error.errno != errno.EAGAIN:
            self._give_up()
            self._outage.begin(self, render_error(error))
        elif has_moved:
            self._outage.end(self)
        return has_moved

    def _give_up(self) -> None:
        while self._kept:
            self._stderr.put(self._kept.popleft().line)
        self._size = 0
