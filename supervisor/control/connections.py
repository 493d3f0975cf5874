"""Who is connected, and who has to go when there are too many."""

import trio

from .peers import Peer, find_peer
from .streams import PatientStream


class Connection:
    """One connection.

    Attributes:
        peer: Who is at the other end.
        stream: What is said.
        requests: How many are being answered.
    """

    def __init__(self, connected: trio.socket.SocketType, peer: Peer) -> None:
        self.peer = peer
        self.requests = 0
        self.stream = PatientStream(connected, lambda: self.requests > 0)

    def close(self) -> None:
        """End it at once, whoever waits for something of it."""
        self.stream.socket.close()


class Connections:
    """All of them, at most so many; the oldest first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = dict[Connection, None]()

    def add(self, connected: trio.socket.SocketType) -> Connection | None:
        """Return a new connection; None if all places are taken by those who are answered.

        Raises:
            OSError: Nobody is at the other end any more.
        """
        peer = find_peer(connected)
        if len(self._open) >= self._most:
            idle = next((other for other in self._open if not other.requests), None)
            if idle is None:
                return None
            self.remove(idle)
        connection = Connection(connected, peer)
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
