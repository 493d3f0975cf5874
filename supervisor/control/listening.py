"""The sockets of a supervisor in its runtime directory, and its port.

Source: unix(7) "Pathname socket ownership and permissions".
"""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EADDRINUSE, ENOTSOCK, EPROTOTYPE
from pathlib import Path

import trio

from ..config import ControlConfig
from ..control_socket import short_path

_MODE = 0o600
_GROUPS_MODE = 0o660
_EVERYBODYS_MODE = 0o666
_THROUGH = 0o711  # of a directory: others get to what they know the name of
_BACKLOG = 128
# A host that is gone without a word is noticed after a minute, though nothing is sent to it.
_ALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}


def open_listener(path: str, kind: int = socket.SOCK_STREAM) -> trio.socket.SocketType:
    """Return a Unix socket to which its owner can connect from now on.

    Args:
        path: Of the socket. What an earlier supervisor has left there is removed.
        kind: Such as SOCK_STREAM.

    Raises:
        OSError: There can be none.
    """
    listener = socket.socket(socket.AF_UNIX, kind)
    try:
        # The file of a socket is made with the mode that the socket has, so it never has another.
        os.fchmod(listener.fileno(), _MODE)
        with short_path(path) as short:
            _remove_dead(short)
            listener.bind(short)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return trio.socket.from_stdlib_socket(listener)


def _remove_dead(path: str) -> None:
    """Remove what nobody listens at any more.

    Raises:
        OSError: Somebody does, though the supervisor holds its name: what is temporary may have
            been tidied up, the file of the lock with it.
    """
    # As one of another kind, so that nobody is asked anything: systemd would start who listens.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        error = asking.connect_ex(path)
    if error in {0, EPROTOTYPE}:
        raise OSError(EADDRINUSE, os.strerror(EADDRINUSE))
    with suppress(FileNotFoundError):
        os.unlink(path)


def admit(path: str, control: ControlConfig) -> str:
    """Let those connect to a socket who may look; of others, the guard refuses all.

    Args:
        path: Of the socket, in a directory of the supervisor's own.
        control: Who that is.

    Returns:
        A directory above which they seem not to get through; "" if there is none.

    Raises:
        OSError: It cannot be so.
    """
    mode = _EVERYBODYS_MODE
    above = list(Path(path).parents)[1:]
    with _hold(path) as (directory_fd, file):
        if len(control.gids) == 1 and not control.uids:
            with suppress(PermissionError):  # a group that its owner is not in
                os.chown(file, -1, *control.gids)
                mode = _GROUPS_MODE
        os.fchmod(directory_fd, _THROUGH)
        os.chmod(file, mode)
    for directory in above:
        status = directory.stat()
        is_theirs = status.st_mode & 0o010 and status.st_gid in control.gids
        if not (status.st_mode & 0o001 or is_theirs):
            return str(directory)
    return ""


@contextmanager
def _hold(path: str) -> Iterator[tuple[int, str]]:
    """Yield the directory of a socket, and a path of the socket, which can't become another one's.

    Raises:
        OSError: It is no socket, or cannot be opened.
    """
    directory, name = os.path.split(path)
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, dir_fd=directory_fd)
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                raise OSError(ENOTSOCK, os.strerror(ENOTSOCK), path)
            yield directory_fd, f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)
    finally:
        os.close(directory_fd)


def open_port(address: str, port: int) -> trio.socket.SocketType:
    """Return a socket to which somebody can connect by TCP from now on.

    Raises:
        OSError: There can be none.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=_BACKLOG)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # connections inherit it
    for option, value in _ALIVE.items():
        listener.setsockopt(socket.IPPROTO_TCP, option, value)
    return trio.socket.from_stdlib_socket(listener)


def render_address(address: str, port: int) -> str:
    """Return both in one word, as a URL has it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
