"""Which supervisor is meant, and how it is reached."""

import os
import socket
from collections.abc import Mapping
from errno import ECONNREFUSED, ENOENT

from mocker.isolation.errors import render_reason

from ..control_socket import list_sockets, short_path
from ..name_lock import find_runtime_directory

VARIABLE = "MOCKER_SOCKET"
_GONE = {ECONNREFUSED, ENOENT}  # nobody listens, or there is no socket


class NoSupervisorError(Exception):
    """There is no supervisor to ask, or it is not clear which; the text says what to do."""


def choose_socket(wanted: str | None, env: Mapping[str, str]) -> str:
    """Return the path of the socket of the supervisor that is meant.

    Args:
        wanted: Its name, or a path with a slash; None for MOCKER_SOCKET, or the only one.
        env: The caller's.

    Raises:
        NoSupervisorError: None is found, or several.
    """
    wanted = wanted or env.get(VARIABLE)
    directory = find_runtime_directory(env, os.geteuid())
    if wanted and "/" in wanted:
        return wanted
    sockets = list_sockets(directory)
    if wanted:
        if wanted in sockets:
            return sockets[wanted]
        known = f"there are {', '.join(sockets)}" if sockets else "there is none"
        raise NoSupervisorError(f"cannot find supervisor {wanted!r} in {directory}: {known}")
    alive = {name: path for name, path in sockets.items() if _listens(path)}
    if len(alive) == 1:
        return next(iter(alive.values()))
    if alive:
        text = f"cannot choose among supervisors {', '.join(alive)}: say which with -s NAME"
        raise NoSupervisorError(f"{text}, or set {VARIABLE}")
    text = f"cannot find a supervisor in {directory}: none of this user's runs there"
    raise NoSupervisorError(f"{text}; start one with 'mocker-supervise FILE', or use -s SOCKET")


def connect(path: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Return a connection to a supervisor.

    Args:
        path: Of the socket.
        kind: Of the socket, such as SOCK_STREAM.

    Raises:
        NoSupervisorError: Nobody answers there.
    """
    connection = socket.socket(socket.AF_UNIX, kind)
    try:
        with short_path(path) as short:
            connection.connect(short)
    except OSError as error:
        connection.close()
        reason = render_reason(error.errno or 0)
        hint = "; no supervisor runs there" if error.errno in _GONE else ""
        raise NoSupervisorError(f"cannot connect to {path}{reason}{hint}") from error
    return connection


def _listens(path: str) -> bool:
    try:
        connect(path).close()
    except NoSupervisorError:
        return False
    return True
