"""A question to a supervisor that is answered while other things go on."""

from collections.abc import Mapping, Sequence

from .address import NoSupervisorError, connect
from .exchange import Answer, AnswerError, parse_object, render_request

_CHUNK = 2**16  # bytes
_OK = range(200, 300)


class Question:
    """One question, for a loop that waits until something can be read.

    Attributes:
        objects: The answer, once it is whole: those that it has one a line, or the only one.
    """

    def __init__(
        self,
        path: str,
        method: str,
        resource: str,
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, object] | None = None,
    ) -> None:
        """Ask it.

        Args:
            path: Of the supervisor's socket.
            method: Of HTTP.
            resource: Its path.
            query: Keys and values.
            body: An object, if it has one.

        Raises:
            NoSupervisorError: Nobody answers there.
        """
        self.objects: list[dict[str, object]] = []
        self._answer = Answer()
        self._connection = connect(path)
        try:
            self._connection.sendall(render_request(method, resource, query, body))
        except OSError:
            pass  # who closes it may have said why before

    def fileno(self) -> int:
        """Return the descriptor that is readable when something has come."""
        return self._connection.fileno()

    @property
    def is_answered(self) -> bool:
        """Whether nothing more comes."""
        return self._answer.at_end

    def advance(self) -> None:
        """Take what has come.

        Raises:
            AnswerError: It is refused.
            NoSupervisorError: The supervisor is gone.
            ProtocolError: It is no supervisor.
        """
        answer = self._answer
        try:
            data = self._connection.recv(_CHUNK)
        except OSError:
            data = b""
        if not data and not answer.status:
            raise NoSupervisorError("cannot ask the supervisor: it is gone, or lets nobody in")
        answer.feed(data)
        if answer.at_end:
            self.close()
            body = answer.take_body()
            if answer.status not in _OK:
                raise AnswerError(answer.status, body)
            self.objects = [parse_object(line) for line in body.splitlines()]

    def close(self) -> None:
        """Wait for nothing more."""
        self._connection.close()
