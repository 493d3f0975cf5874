"""A question to a supervisor that is answered while other things go on."""

from .address import connect
from .ask import receive, send
from .exchange import Answer, Body, Query, parse_object, render_request


class Question:
    """One question, for a loop that waits until something can be read.

    Attributes:
        objects: The answer, once it is whole: those that it has one a line, or the only one.
    """

    def __init__(
        self, path: str, method: str, resource: str, query: Query = (), body: Body | None = None
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
        send(self._connection, render_request(method, resource, query, body))

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
        answer.feed_received(receive(self._connection))
        if answer.at_end:
            self.close()
            answer.check_granted()
            self.objects = [parse_object(line) for line in answer.take_body().splitlines()]

    def close(self) -> None:
        """Wait for nothing more."""
        self._connection.close()
