"""A question to a supervisor, and a wait for the answer: what the commands of `mocker` do."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from struct import Struct

from .address import NoSupervisorError
from .exchange import Answer, AnswerError, parse_object, render_request

_CHUNK = 2**16
_UCRED = Struct("3i")  # struct ucred: pid, uid, gid
_OK = range(200, 300)


class Asker:
    """Asks one question."""

    def __init__(self, connection: socket.socket) -> None:
        """Take a connection, which is closed after the answer.

        Args:
            connection: See `address.connect`.
        """
        self._connection = connection
        self._answer = Answer()

    def find_pid(self) -> int:
        """Return the supervisor's process; 0 if it cannot be seen from here."""
        credentials = self._connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size
        )
        pid: int = _UCRED.unpack(credentials)[0]
        return pid

    def ask(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, object] | None = None,
        *,
        accepted: Sequence[int] = (),
    ) -> dict[str, object]:
        """Return the object that is the answer.

        Args:
            method: Of HTTP.
            path: The resource.
            query: Keys and values.
            body: An object, if it has one.
            accepted: Statuses of HTTP that are no error, besides 2xx.

        Raises:
            AnswerError: It is refused.
            NoSupervisorError: The supervisor is gone.
            ProtocolError: It is no supervisor.
        """
        with self._connection:
            self._send(render_request(method, path, query, body))
            while not self._answer.at_end:
                self._receive()
            content = self._answer.take_body()
        status = self._answer.status
        if status not in _OK and status not in accepted:
            raise AnswerError(status, content)
        return parse_object(content)

    def stream(
        self,
        method: str,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, object] | None = None,
    ) -> Iterator[dict[str, object]]:
        """Yield the objects of an answer that has one a line, as they come.

        Raises:
            AnswerError, NoSupervisorError, ProtocolError: See `ask`.
        """
        with self._connection:
            self._send(render_request(method, path, query, body))
            while not self._answer.at_end:
                self._receive()
                if self._answer.status in _OK:
                    yield from self._answer.take_lines()
            if self._answer.status not in _OK:
                raise AnswerError(self._answer.status, self._answer.take_body())

    def _send(self, request: bytes) -> None:
        try:
            self._connection.sendall(request)
        except OSError as error:
            raise NoSupervisorError("cannot ask the supervisor: it is gone") from error

    def _receive(self) -> None:
        try:
            data = self._connection.recv(_CHUNK)
        except OSError:
            data = b""
        if not data and not self._answer.status:
            raise NoSupervisorError("cannot ask the supervisor: it is gone, or lets nobody in")
        self._answer.feed(data)
