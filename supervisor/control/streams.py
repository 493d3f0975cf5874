"""A connection that cannot be held for ever by who says nothing, or takes nothing."""

import fcntl
import math
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import trio

SILENCE_S = 10.0  # until a request is whole, and from an answer to the next one
_STALL_S = 10.0  # for which an answer may be left lying
_UNREAD = bytes(4)  # room for an int, ioctl(2) FIONREAD


class PatientStream:
    """A stream that ends when its other end takes too long.

    Attributes:
        socket: The connection.
        answers: How many requests are being answered.
        has_said: Whether something came that is no part of a request that was answered.
        has_answered: Whether there was an answer before.
        is_late: Whether its other end took too long to ask.
    """

    def __init__(self, socket: trio.socket.SocketType) -> None:
        """Take a connection over, as somebody connects."""
        self.socket = socket
        self.answers = 0
        self.has_said = self.has_answered = self.is_late = False
        self._stream = trio.SocketStream(socket)
        self._deadline = trio.current_time() + SILENCE_S
        self._silence = trio.CancelScope()

    @property
    def is_silent(self) -> bool:
        """Whether there was an answer, and nothing since: then nobody waits for a word."""
        return self.has_answered and not (self.has_said or self.answers)

    @property
    def has_unread(self) -> bool:
        """Whether something came that nobody has read."""
        if self.socket.fileno() < 0:
            return False
        count = fcntl.ioctl(self.socket, termios.FIONREAD, _UNREAD)
        return bool(int.from_bytes(count, sys.byteorder))

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Answer a request, during which nothing has to come."""
        self.answers += 1
        self._set_deadline(math.inf)
        try:
            yield
        finally:
            self.answers -= 1
            if not self.answers:
                self.has_answered = True
                self._set_deadline(trio.current_time() + SILENCE_S)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what comes; nothing at the end, or if a request does not become whole in time.

        Raises:
            BrokenResourceError, ClosedResourceError: The connection is gone.
        """
        # What has come is not late, though nobody was there to read it until now.
        is_there = trio.current_time() >= self._deadline and self.has_unread
        deadline = math.inf if is_there else self._deadline
        with trio.CancelScope(deadline=deadline) as self._silence:
            if self.socket.fileno() < 0:
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(self.socket)
            # Now: once it is taken from the socket, others may have their turn before us.
            self.has_said = True
            return bytes(await self._stream.receive_some(max_bytes))
        self.is_late = True
        return b""

    async def wait_room(self) -> None:
        """Wait, for ever if need be, until the other end has taken most of what was sent.

        Raises:
            ClosedResourceError: It is closed.
        """
        await trio.lowlevel.wait_writable(self.socket)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it.

        Raises:
            BrokenResourceError: The other end is gone, or takes nothing.
            ClosedResourceError: It is closed on this side.
        """
        with trio.move_on_after(_STALL_S) as wait:
            try:
                await self._stream.send_all(data)
            except trio.BusyResourceError:
                raise trio.BrokenResourceError("it is just being ended") from None
        if wait.cancelled_caught:
            raise trio.BrokenResourceError("the other end takes nothing")

    async def send_eof(self) -> None:
        """Say that nothing more will come."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close it."""
        await self._stream.aclose()

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = self._silence.deadline = deadline
