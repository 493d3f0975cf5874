"""A question to a supervisor, and a wait for the answer: what the commands of `mocker` do."""

import select
import socket
from collections.abc import Callable, Iterator
from struct import Struct

from .address import NoSupervisorError
from .exchange import Answer, Body, ProtocolError, Query, render_request

_CHUNK = 2**16  # bytes
_UCRED = Struct("3i")  # struct ucred: pid, uid, gid
_PATIENCE_S = 30.0  # for an answer that takes no time, of a supervisor that is busy


class Asker:
    """Asks one question."""

    def __init__(
        self, connection: socket.socket, tell_version: Callable[[str], None] = lambda _: None
    ) -> None:
        """Take a connection, which is closed after the answer.

        Args:
            connection: See `address.connect`.
            tell_version: Is told the version of the supervisor as soon as it answers.
        """
        self._connection = connection
        self._answer = Answer()
        self._tell_version = tell_version

    def find_pid(self) -> int:
        """Return the supervisor's process; 0 if it cannot be seen from here."""
        credentials = self._connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size
        )
        pid: int = _UCRED.unpack(credentials)[0]
        return pid

    def ask(
        self, method: str, path: str, query: Query = (), body: Body | None = None
    ) -> dict[str, object]:
        """Return the object that is the answer.

        Args:
            method: Of HTTP.
            path: The resource.
            query: Keys and values.
            body: An object, if it has one.

        Raises:
            AnswerError: It is refused.
            NoSupervisorError: The supervisor is gone.
            ProtocolError: It is no supervisor.
        """
        with self._connection:
            if method == "GET":
                self._connection.settimeout(_PATIENCE_S)
            send(self._connection, render_request(method, path, query, body))
            while not self._answer.at_end:
                self._receive()
        return self._answer.take_object()

    def stream(
        self, method: str, path: str, query: Query = (), body: Body | None = None
    ) -> Iterator[dict[str, object]]:
        """Yield the objects of an answer that has one a line, as they come.

        Raises:
            AnswerError, NoSupervisorError, ProtocolError: See `ask`.
        """
        with self._connection:
            send(self._connection, render_request(method, path, query, body))
            while not self._answer.at_end:
                self._receive()
                if self._answer.check_granted():
                    yield from self._answer.take_lines()

    def stream_text(
        self, method: str, path: str, query: Query, body: Body | None, reader_fd: int
    ) -> Iterator[bytes]:
        """Yield the lines of an answer that goes on, many in one piece, as they come.

        It ends early when nobody is left to read what is made of them.

        Args:
            method: Of HTTP.
            path: The resource.
            query: Keys and values.
            body: An object, if it has one.
            reader_fd: What is made of them is written there.

        Raises:
            AnswerError, ProtocolError: See `ask`.
            NoSupervisorError: The supervisor is gone, before it was the end.
        """
        rest = b""
        with self._connection:
            send(self._connection, render_request(method, path, query, body))
            while not self._answer.at_end:
                if not _wait_readable(self._connection, reader_fd):
                    return
                self._receive()
                if self._answer.check_granted():
                    lines, newline, rest = (rest + self._answer.take_body()).rpartition(b"\n")
                    yield lines + newline

    def _receive(self) -> None:
        data = receive(self._connection)
        knew = self._answer.status
        try:
            self._answer.feed_received(data)
        except ProtocolError as error:
            if data or not self._answer.status:
                raise
            raise NoSupervisorError("the supervisor is gone") from error
        if self._answer.status and not knew:
            self._tell_version(self._answer.version)


def send(connection: socket.socket, request: bytes) -> None:
    """Send a request; that nobody takes it is told by what comes back."""
    try:
        connection.sendall(request, socket.MSG_NOSIGNAL)  # or SIGPIPE might end it all
    except OSError:
        pass  # who closes it may have said why before


def receive(connection: socket.socket) -> bytes:
    """Return what comes next; nothing at the end of the connection.

    Raises:
        NoSupervisorError: Nothing comes in the time that it has.
    """
    try:
        return connection.recv(_CHUNK)
    except TimeoutError:
        text = f"the supervisor has not answered for {_PATIENCE_S:g} s"
        raise NoSupervisorError(text) from None
    except OSError:
        return b""


def _wait_readable(connection: socket.socket, reader_fd: int) -> bool:
    """Wait until something comes; return whether somebody reads what is made of it."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if reader_fd >= 0:
        poll.register(reader_fd, 0)  # only for POLLERR: a pipe that nobody reads any more
    return all(fd == connection.fileno() or not event for fd, event in poll.poll())
