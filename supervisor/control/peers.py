"""Who is at the other end of a connection, and whether they may be there.

Source: unix(7) SO_PEERCRED.
"""

import os
import socket
from struct import Struct

import attrs
import trio

_UCRED = Struct("3i")  # struct ucred: pid, uid, gid


@attrs.frozen
class Peer:
    """A process at the other end of a Unix socket, as it was when it connected."""

    pid: int
    uid: int
    gid: int

    @property
    def may_do_all(self) -> bool:
        """Whether it is the owner's or root's."""
        return self.uid in {0, os.geteuid()}


def find_peer(connected: trio.socket.SocketType) -> Peer:
    """Return who has connected.

    Raises:
        OSError: The connection is broken.
    """
    option = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return Peer(*_UCRED.unpack(option))
