"""Who is at the other end of a connection.

Source: unix(7) SO_PEERCRED; getsockopt(2); socket(7) and the kernel's
include/uapi/asm-generic/socket.h on SO_PEERGROUPS.
"""

import os
import socket
from struct import Struct

import attrs
import trio

from mocker.isolation.library import get_function, reserve_memory

_UCRED = Struct("3i")  # struct ucred: pid, uid, gid
_GID = 4  # bytes
_SO_PEERGROUPS = 59  # since Linux 4.13; Python has no name for it
_MOST_GROUPS = 65536 * _GID  # bytes; the kernel lets nobody be in more of them
# Python's own takes 1,024 bytes of an option. Memory is taken of what is written to alone.
_getsockopt = get_function("getsockopt", 5)
_HEAD = 8  # bytes, for how many follow
_memory, _address = reserve_memory(_HEAD + _MOST_GROUPS)


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
    cells = _memory.cast("B").cast("I")
    cells[0] = _MOST_GROUPS
    if _getsockopt(
        connected.fileno(), socket.SOL_SOCKET, _SO_PEERGROUPS, _address + _HEAD, _address
    ):
        return frozenset()  # a kernel that does not tell: then it is in none of them
    return frozenset(cells[_HEAD // _GID : (_HEAD + cells[0]) // _GID])
