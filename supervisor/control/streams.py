"""A connection that cannot be held for ever by who says nothing, or takes nothing."""

from collections.abc import Callable

import trio

_SILENCE_S = 10.0  # until a request is whole, and between two
_STALL_S = 10.0  # for which an answer may be left lying


class PatientStream:
    """A stream that ends when its other end takes too long.

    Attributes:
        socket: The connection.
    """

    def __init__(self, socket: trio.socket.SocketType, is_busy: Callable[[], bool]) -> None:
        """Take a connection over.

        Args:
            socket: It.
            is_busy: Whether a request is being answered, so that nothing has to come.
        """
        self.socket = socket
        self._stream = trio.SocketStream(socket)
        self._is_busy = is_busy

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what comes; nothing at the end, or after a silence."""
        while True:
            with trio.move_on_after(_SILENCE_S):
                return bytes(await self._stream.receive_some(max_bytes))
            if not self._is_busy():
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
        """
        with trio.move_on_after(_STALL_S) as wait:
            await self._stream.send_all(data)
        if wait.cancelled_caught:
            raise trio.BrokenResourceError("the other end takes nothing")

    async def send_eof(self) -> None:
        """Say that nothing more will come."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close it."""
        await self._stream.aclose()
