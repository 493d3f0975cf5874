"""Who is at the other end of a connection.

Source: unix(7) SO_PEERCRED; socket(7) and the kernel's include/uapi/asm-generic/socket.h on
SO_PEERGROUPS.
"""

import os
import socket
from struct import Struct

import attrs
import trio

from mocker.isolation.syscalls import getsockopt

_UCRED = Struct("3i")  # struct ucred: pid, uid, gid
_GID = Struct("I")
_SO_PEERGROUPS = 59  # since Linux 4.13; Python has no name for it
_MOST_GROUPS = 65536 * _GID.size  # bytes; the kernel lets nobody be in more of them


@attrs.frozen
class Peer:
    """A process at the other end of a Unix socket, as it was when it connected.

    Attributes:
        groups: The supplementary ones.
    """

    pid: int
    uid: int
    gid: int
    groups: frozenset[int] = frozenset()

    @property
    def may_do_all(self) -> bool:
        """Whether it is the owner's or root's."""
        return self.uid in {0, os.geteuid()}


@attrs.frozen
class Remote:
    """Somebody at the other end of a TCP connection; whoever that is."""

    address: str


def find_peer(connected: trio.socket.SocketType) -> Peer:
    """Return who has connected.

    Raises:
        OSError: The connection is broken.
    """
    option = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(option)
    return Peer(pid, uid, gid, _find_groups(connected))


def find_remote(connected: trio.socket.SocketType) -> Remote:
    """Return who has connected.

    Raises:
        OSError: The connection is broken.
    """
    return Remote(connected.getpeername()[0])


def _find_groups(connected: trio.socket.SocketType) -> frozenset[int]:
    try:
        option = getsockopt(connected.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS)
    except OSError:  # a kernel that does not tell: then it is in none of them
        return frozenset()
    return frozenset(gid for (gid,) in _GID.iter_unpack(option))
