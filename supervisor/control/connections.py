"""Who is connected, and who has to go when there are too many.

Who has begun to ask and has to go is told why. Who has said nothing is not, neither then nor when
he is idle for too long: he may just be sending a request, and would take it for the answer to that
(RFC 9112 9.5).
"""

import fcntl
import os
import select
import sys
import termios
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import trio

from .peers import Peer, Remote
from .problems import RequestError
from .streams import PatientStream

_CROWDED = RequestError(
    "busy", 503, "cannot wait for the rest of the request: too many others ask; try again"
)
_UNREAD = bytes(4)  # room for an int, ioctl(2) FIONREAD


class Followers:
    """Those whose answers go on: fewer than there are places, or nobody else had one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    @contextmanager
    def add(self) -> Iterator[None]:
        """Let one more follow something for the length of a block.

        Raises:
            RequestError: There are too many.
        """
        if self._count >= self._most:
            text = f"cannot follow: {self._count} others follow or wait; try again"
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
        self.stream = PatientStream(connected)

    def following(self) -> AbstractContextManager[None]:
        """Let it follow something for the length of a block, see `Followers.add`."""
        return self._followers.add()

    @property
    def asks_nothing(self) -> bool:
        """Whether there is no question on it, neither one that is answered nor a part of one."""
        return not self.stream.has_said and self.is_free

    @property
    def is_free(self) -> bool:
        """Whether no question is answered on it, or waits to be read."""
        if self.stream.answers:
            return False
        if self.stream.socket.fileno() < 0:  # closed, and about to be taken out
            return True
        count = fcntl.ioctl(self.stream.socket, termios.FIONREAD, _UNREAD)
        return not int.from_bytes(count, sys.byteorder)

    @property
    def has_left(self) -> bool:
        """Whether nobody is at the other end any more, or it is closed on this side."""
        if self.stream.socket.fileno() < 0:
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
    """All of them, at most so many, and of those so many that follow; the oldest first."""

    def __init__(self, most: int, most_followers: int) -> None:
        self._most = most
        self._followers = Followers(most_followers)
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
                other.refuse(_CROWDED)
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
