"""Who is connected, and who has to go when there are too many.

Who has to go is told why, whether he has begun to ask or said nothing at all: if he is just sending
a request, that is its answer, and nobody reads it any more. Who has been answered and is silent
since is not told: he would take it for the answer to his next request, which a new connection may
have (RFC 9112 9.3.1, 9.5).
"""

import enum
import os
import select
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import trio

from .peers import Peer, Remote
from .problems import CROWDED, RequestError
from .streams import PatientStream


class Length(enum.Enum):
    """How long an answer may take."""

    SHORT = enum.auto()  # no longer than it takes to give it
    LONG = enum.auto()  # it has an end, but may wait for a job, or for who reads it
    ENDLESS = enum.auto()  # as long as somebody listens


class Followers:
    """Those whose answers go on: fewer than there are places, or nobody else had one."""

    def __init__(self, most_endless: int, most: int) -> None:
        """Begin with none.

        Args:
            most_endless: One that is ENDLESS is refused once so many last.
            most: So is one that is LONG.
        """
        self._most = {Length.ENDLESS: most_endless, Length.LONG: most}
        self._count = 0

    @contextmanager
    def add(self, length: Length) -> Iterator[None]:
        """Let one more follow or wait for something for the length of a block.

        Raises:
            RequestError: There are too many.
        """
        if length is Length.SHORT:
            yield
            return
        if self._count >= self._most[length]:
            deed = "follow" if length is Length.ENDLESS else "answer"
            text = f"cannot {deed}: too many others follow or wait ({self._count}); try again"
            raise RequestError("busy", 503, text)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


class Connection:
    """One connection.

    Attributes:
        peer: Who is at the other end.
        stream: What is said.
    """

    def __init__(
        self, connected: trio.socket.SocketType, peer: Peer | Remote, followers: Followers
    ) -> None:
        self.peer = peer
        self._is_remote = isinstance(peer, Remote)
        self._followers = followers
        self._awaits_rest = False
        self.stream = PatientStream(connected)

    def lasting(self, length: Length) -> AbstractContextManager[None]:
        """Let it have an answer that takes so long for the length of a block.

        Raises:
            RequestError: See `Followers.add`.
        """
        return self._followers.add(length)

    @contextmanager
    def awaiting_rest(self) -> Iterator[None]:
        """Read the rest of a question for the length of a block, in which it is a part of one."""
        self._awaits_rest = True
        try:
            yield
        finally:
            self._awaits_rest = False

    @property
    def asks_nothing(self) -> bool:
        """Whether there is no question on it, neither one that is answered nor a part of one."""
        return not self.stream.has_said and self.is_free

    @property
    def is_free(self) -> bool:
        """Whether no question is answered on it, or waits to be read."""
        if self.stream.answers and not self._awaits_rest:
            return False
        return not self.stream.has_unread  # it may be closed, and about to be taken out

    @property
    def is_closed(self) -> bool:
        """Whether it is closed on this side."""
        return self.stream.socket.fileno() < 0

    @property
    def has_left(self) -> bool:
        """Whether nobody is at the other end any more, or it is closed on this side."""
        if self.is_closed:
            return True
        poll = select.poll()
        # POLLHUP is always told, but over TCP only when both sides have closed. There, who sends
        # nothing more cannot be told from who has left.
        poll.register(self.stream.socket, select.POLLRDHUP if self._is_remote else 0)
        return bool(poll.poll(0))

    def refuse(self, error: RequestError) -> None:
        """Answer with an error as its last word, as far as the other end takes it at once."""
        with suppress(OSError):
            os.write(self.stream.socket.fileno(), error.render_answer())

    def close(self) -> None:
        """End it at once, whoever waits for something of it."""
        self.stream.socket.close()


class Connections:
    """All of them, at most so many, and of those so many that last; the oldest first."""

    def __init__(self, most: int, most_endless: int, most_lasting: int) -> None:
        self._most = most
        self._followers = Followers(most_endless, most_lasting)
        self._open = dict[Connection, None]()

    def add(self, connected: trio.socket.SocketType, peer: Peer | Remote) -> Connection | None:
        """Return a new connection; None if all places are taken by those who are answered."""
        if len(self._open) >= self._most:
            others = list(self._open)
            other = next((each for each in others if each.asks_nothing or each.has_left), None)
            if other is None:
                other = next((each for each in others if each.is_free), None)
                if other is None:
                    return None
            if not (other.stream.is_silent or other.has_left):
                other.refuse(CROWDED)
            self.remove(other)
        connection = Connection(connected, peer, self._followers)
        self._open[connection] = None
        return connection

    def remove(self, connection: Connection) -> None:
        """End one."""
        if connection in self._open:
            del self._open[connection]
            connection.close()

    def close(self) -> None:
        """End all of them."""
        while self._open:
            self.remove(next(iter(self._open)))
