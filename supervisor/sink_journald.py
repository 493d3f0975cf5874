"""The socket on which journald takes entries, see `journal_entries`.

A connected socket: of one that is not, poll(2) cannot tell whether the queue of the other end has
room. Nothing here waits, for journald may stand still. When journald comes back its socket is
another one, unless systemd holds it meanwhile; so a connection that is broken is made anew. What
journald had read and not stored when it was killed is lost. So is what it had not read, but where
systemd holds the socket. Nobody else knows how much that is.

The kernel's own limit of what journald has not read yet is right for a socket that all jobs share:
160 entries of short lines, on which journald spends less than two milliseconds. With 100, it runs
dry where the machine is busy, and with 250, a line that comes behind them takes twice as long.
"""

import array
import errno
import fcntl
import os
import socket

from mocker.isolation.syscalls import ALL_SEALS, F_ADD_SEALS, memfd_create

# The other end is gone, or has been and came back as another one.
_BROKEN = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE}
_TOO_BIG = {errno.EMSGSIZE, errno.ENOBUFS}


class Journal:
    """Where datagrams are written to, by one thread at a time.

    Attributes:
        path: Of journald's socket.
    """

    may_hang = False

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket: socket.socket | None = None
        self._is_stale = False

    @property
    def fd(self) -> int | None:
        """What becomes writable when there is room again, after an EAGAIN."""
        return None if self._socket is None else self._socket.fileno()

    def write(self, pieces: list[bytes]) -> tuple[list[bytes], OSError | None]:
        """Send datagrams in order.

        Returns:
            Those that are not sent, and why: EAGAIN if journald does not keep up. They can be
            written again at any time.
        """
        if self._is_stale:
            self.close()
        for index, piece in enumerate(pieces):
            try:
                self._send(piece)
            except OSError as error:
                return pieces[index:], error
        return [], None

    def reopen(self) -> None:
        """Connect anew at the next write; not now, when somebody may be using the socket."""
        self._is_stale = True

    def close(self) -> None:
        """Let go of the socket; another write connects again."""
        self._is_stale = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, piece: bytes) -> None:
        if self._socket is not None:
            try:
                _send(self._socket, piece)
            except OSError as error:
                if error.errno not in _BROKEN:
                    raise
                self.close()
            else:
                return
        self._socket = _connect(self.path)
        _send(self._socket, piece)


def _connect(path: str) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        connected.setblocking(False)
        connected.connect(path)
    except BaseException:
        connected.close()
        raise
    return connected


def _send(connected: socket.socket, piece: bytes) -> None:
    try:
        connected.send(piece)
    except OSError as error:
        if error.errno not in _TOO_BIG:
            raise
        _send_in_memory(connected, piece)


def _send_in_memory(connected: socket.socket, piece: bytes) -> None:
    memory = memfd_create("entry")
    try:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(memory, rest) :]
        # journald trusts memory that nobody can change any more.
        fcntl.fcntl(memory, F_ADD_SEALS, ALL_SEALS)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memory]))
        connected.sendmsg([b""], [rights])
    finally:
        os.close(memory)
