"""The process at the other end of a connection, to wait for its end.

That is not the end of the connection, which comes before. A pidfd tells it; so nothing has to be
looked at again and again.

Source: pidfd_open(2), unix(7) SO_PEERCRED.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct

from mocker.isolation.syscalls import pidfd_open

_UCRED = Struct("3i")  # struct ucred: pid, uid, gid


def find_peer(connection: socket.socket) -> int:
    """Return the process that listens; 0 if it cannot be seen from here."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid: int = _UCRED.unpack(credentials)[0]
    return pid


@contextmanager
def open_process(pid: int) -> Iterator[int | None]:
    """Give a pidfd for a block; None of a process that cannot be seen from here, or is gone."""
    try:
        pidfd = pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield pidfd
    finally:
        os.close(pidfd)
