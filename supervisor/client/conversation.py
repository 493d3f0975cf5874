"""One question to a supervisor and its answer, for all who ask: what is sent, and what comes of it.

How long that takes is for others to wait, see `Transport`.
"""

import socket
from collections.abc import Callable

from .address import NoSupervisorError
from .connections import Connections
from .exchange import Answer, ProtocolError, render_request
from .resources import Request

_CHUNK = 2**16  # bytes
_PATIENCE_S = 30.0  # for an answer that takes no time, of a supervisor that is busy


class Conversation:
    """One question, on a connection of its own."""

    def __init__(
        self,
        connections: Connections,
        connection: socket.socket,
        tell_version: Callable[[str], None],
    ) -> None:
        """Begin it; nothing is asked yet.

        Args:
            connections: What waits.
            connection: One of them.
            tell_version: Is told the version of the supervisor as soon as it answers.
        """
        self._answer = Answer()
        self._connections, self._connection = connections, connection
        self._tell_version = tell_version

    async def ask(self, request: Request) -> dict[str, object]:
        """Return the object that is the answer.

        Raises:
            AnswerError: It is refused.
            NoSupervisorError: The supervisor is gone, or looks at nothing.
            ProtocolError: It is no supervisor.
        """
        await self._send(request)
        # What only looks is answered at once; what is done may take as long as it takes.
        limit_s = _PATIENCE_S if request[0] == "GET" else None
        while not self._answer.at_end:
            await self._receive(limit_s)
        return self._answer.take_object()

    async def ask_for_lines(self, request: Request) -> None:
        """Ask what is answered in lines, and wait until it is known that it will be, see `ask`."""
        await self._send(request)
        while not self._answer.check_granted():
            await self._receive()

    async def receive_text(self) -> bytes:
        """Return the lines that come next, many in one piece; nothing at the end, see `ask`."""
        while not (text := self._answer.take_text()) and not self._answer.at_end:
            await self._receive(is_shown=True)
        return text

    async def _send(self, request: Request) -> None:
        """Send the question; that nobody takes it is told by what comes back."""
        rest = memoryview(render_request(*request))
        try:
            while rest:
                try:
                    # Without SIGPIPE, which might end it all.
                    rest = rest[self._connection.send(rest, socket.MSG_NOSIGNAL) :]
                except BlockingIOError:
                    await self._connections.wait_writable(self._connection)
        except OSError:
            pass  # who closes it may have said why before

    async def _receive(self, limit_s: float | None = None, *, is_shown: bool = False) -> None:
        """Take what comes next of the answer.

        Args:
            limit_s: Seconds that it may take; None for no end.
            is_shown: See `Transport.wait_readable`.

        Raises:
            NoSupervisorError: The supervisor is gone, or nothing has come in time.
            ProtocolError: It is no supervisor.
        """
        data = await self._read(limit_s, is_shown=is_shown)
        knew = self._answer.status
        try:
            self._answer.feed_received(data)
        except ProtocolError as error:
            if data or not self._answer.status:
                raise
            raise NoSupervisorError("the supervisor is gone") from error
        if self._answer.status and not knew:
            self._tell_version(self._answer.version)

    async def _read(self, limit_s: float | None, *, is_shown: bool) -> bytes:
        """Return what comes next; nothing at the end of the connection."""
        connection = self._connection
        while await self._connections.wait_readable(connection, limit_s, is_shown=is_shown):
            try:
                return self._connection.recv(_CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                return b""
        raise NoSupervisorError(f"the supervisor has not answered for {limit_s or 0:g} s")
