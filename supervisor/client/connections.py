"""The connections of a client to its supervisor, none of which outlives it."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..control_socket import find_exec_socket
from .address import NoSupervisorError

TYPE_CHECKING = False  # `transport` needs `typing`, which is for who checks types
if TYPE_CHECKING:
    from .transport import Transport

_CLOSED = "cannot ask the supervisor: the client is closed"


class Connections:
    """They are made, waited for and closed here, each for one question.

    Attributes:
        path: Of the socket of the supervisor; empty before `find` and after `close_all`.
    """

    def __init__(self, transport: "Transport") -> None:
        self.path = ""
        self._transport = transport
        self._open: set[socket.socket] = set()
        self._pidfds: set[int] = set()

    async def find(self, wanted: str | None) -> None:
        """Find the supervisor.

        Raises:
            NoSupervisorError: None is found, or several.
        """
        self.path = await self._transport.find(wanted)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[socket.socket]:
        """Give a connection to what answers in HTTP for the length of a block."""
        connection = await self.open()
        try:
            yield connection
        finally:
            self.close(connection)

    async def open(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """Return a connection that does not block, for who closes it with `close`.

        Args:
            kind: SOCK_STREAM for HTTP, SOCK_SEQPACKET for messages with descriptors.

        Raises:
            NoSupervisorError: Nobody answers.
        """
        if not self.path:
            raise RuntimeError("a Client is used in its 'async with' block")
        path = self.path if kind == socket.SOCK_STREAM else find_exec_socket(self.path)
        connection = await self._transport.connect(path, kind)
        if not self.path:  # meanwhile the block has ended
            connection.close()
            raise NoSupervisorError(_CLOSED)
        connection.setblocking(False)
        self._open.add(connection)
        return connection

    async def wait_readable(
        self, connection: socket.socket, limit_s: float | None = None, *, is_shown: bool = False
    ) -> bool:
        """Wait until something comes; return False if it took too long, see `Transport`."""
        fd = _get_fd(connection)
        return await self._transport.wait_readable(fd, limit_s, is_shown=is_shown)

    async def wait_writable(self, connection: socket.socket) -> None:
        """Wait until something can be sent, see `Transport`."""
        await self._transport.wait_writable(_get_fd(connection))

    async def wait_ended(self, pidfd: int) -> None:
        """Wait until a process has ended.

        Raises:
            NoSupervisorError: The client is closed meanwhile.
        """
        self._pidfds.add(pidfd)
        try:
            await self._transport.wait_readable(pidfd)
        finally:
            self._pidfds.discard(pidfd)

    def close(self, connection: socket.socket) -> None:
        """Close a connection; who waits for something on it gets a NoSupervisorError."""
        self._open.discard(connection)
        if connection.fileno() >= 0:
            self._transport.forget(connection.fileno())
            connection.close()

    def close_all(self) -> None:
        """Close all that are open, and open no others; who waits gets a NoSupervisorError."""
        self.path = ""
        for pidfd in tuple(self._pidfds):
            self._transport.forget(pidfd)
        for connection in tuple(self._open):
            self.close(connection)


def _get_fd(connection: socket.socket) -> int:
    """Return the descriptor of a connection that is open.

    Raises:
        NoSupervisorError: It was closed with its client.
    """
    if connection.fileno() < 0:
        raise NoSupervisorError(_CLOSED)
    return connection.fileno()
