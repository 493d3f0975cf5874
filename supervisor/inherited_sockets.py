"""The sockets that somebody else has opened for the supervisor, such as systemd for a socket unit.

Then who asks can connect before the supervisor runs, and while it is started anew.

Source: sd_listen_fds(3), systemd.socket(5).
"""

import os
import socket
from collections.abc import Mapping

_FIRST = 3
_KINDS = {socket.SOCK_STREAM, socket.SOCK_SEQPACKET}
_WANTED = (
    "it has to be a Unix socket that listens, by ListenStream= or ListenSequentialPacket=, "
    "and one of each at most"
)


class InheritedSocketError(Exception):
    """Something was passed on that the supervisor has no use for; the text says what."""

    exit_code = 1


def take_sockets(env: Mapping[str, str]) -> dict[int, socket.socket]:
    """Return the listening Unix sockets that were passed on, by their type, such as SOCK_STREAM.

    Nothing that is executed from now on inherits them.

    Args:
        env: The caller's, with LISTEN_FDS and LISTEN_PID if there are any.

    Raises:
        InheritedSocketError: One of them is something else.
    """
    if env.get("LISTEN_PID") != str(os.getpid()):
        return {}
    number = env.get("LISTEN_FDS", "")
    count = int(number) if number.isascii() and number.isdecimal() else 0
    names = env.get("LISTEN_FDNAMES", "").split(":")
    sockets = dict[int, socket.socket]()
    for index, fd in enumerate(range(_FIRST, _FIRST + count)):
        name = names[index] if index < len(names) else ""
        found = _open_listening(fd)
        if found is None or found.type in sockets:
            where = f"descriptor {fd} ({name})" if name else f"descriptor {fd}"
            raise InheritedSocketError(f"cannot use {where} of LISTEN_FDS: {_WANTED}")
        sockets[found.type] = found
    return sockets


def _open_listening(fd: int) -> socket.socket | None:
    try:
        os.set_inheritable(fd, False)
        found = socket.socket(fileno=fd)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        return None
    if found.family == socket.AF_UNIX and found.type in _KINDS and listens:
        # Once more, for who connects from now on has this process as its peer: unix(7) SO_PEERCRED.
        found.listen(socket.SOMAXCONN)
        return found
    found.detach()  # whose it is goes on having it
    return None
