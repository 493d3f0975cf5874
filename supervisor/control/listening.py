"""Sockets of a supervisor in its runtime directory, for its owner alone."""

import os
import socket
from contextlib import suppress

import trio

from ..control_socket import short_path

_MODE = 0o600
_BACKLOG = 128


def open_listener(path: str, kind: int = socket.SOCK_STREAM) -> trio.socket.SocketType:
    """Return a Unix socket to which somebody can connect from now on.

    Args:
        path: Of the socket. Whatever is there is nobody's, as the supervisor holds its name.
        kind: Such as SOCK_STREAM.

    Raises:
        OSError: There can be none.
    """
    with suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, kind)
    try:
        with short_path(path) as short:
            listener.bind(short)
        os.chmod(path, _MODE)  # nobody can have connected: it does not listen yet
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return trio.socket.from_stdlib_socket(listener)
