"""Which supervisor is meant, and how it is reached."""

import os
import socket
import stat
import struct
from collections.abc import Mapping
from errno import EACCES, EAGAIN, ECONNREFUSED, ENOENT, EPERM

from mocker.isolation.errors import render_reason

from ..control_socket import list_sockets, short_path
from ..name_lock import find_runtime_directory

VARIABLE = "MOCKER_SOCKET"
_TIMEOUT_S = 10  # for a supervisor that takes nobody in: it is stopped, or hangs
_WRITABLE_BY_OTHERS = 0o022
_GONE = {ECONNREFUSED, ENOENT}  # nobody listens, or there is no socket


class NoSupervisorError(Exception):
    """There is no supervisor to ask, or it is not clear which; the text says what to do.

    Attributes:
        may_come: Whether all that is missing is that it is started.
    """

    def __init__(self, text: str, *, may_come: bool = False) -> None:
        super().__init__(text)
        self.may_come = may_come


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
    if sockets:
        _check_owner(directory)
    if wanted:
        if wanted in sockets:
            return sockets[wanted]
        known = f"there are {', '.join(sockets)}" if sockets else "there is none"
        text = f"cannot find supervisor {wanted!r} in {directory}: {known}"
        raise NoSupervisorError(text, may_come=True)
    alive = {name: path for name, path in sockets.items() if len(sockets) == 1 or _listens(path)}
    if len(alive) == 1:
        return next(iter(alive.values()))
    if alive:
        text = f"cannot choose among supervisors {', '.join(alive)}: say which with -s NAME"
        raise NoSupervisorError(f"{text}, or set {VARIABLE}")
    text = f"cannot find a supervisor in {directory}: none of this user's runs there"
    hint = "start one with 'mocker-supervise FILE', or use -s SOCKET"
    raise NoSupervisorError(f"{text}; {hint}", may_come=True)


def connect(path: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Return a connection to a supervisor.

    Args:
        path: Of the socket.
        kind: Of the socket, such as SOCK_STREAM.

    Raises:
        NoSupervisorError: Nobody answers there.
    """
    connection = socket.socket(socket.AF_UNIX, kind)
    # Not settimeout(): where there is no room for one more, a connect that may not wait fails.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _TIMEOUT_S, 0))
    try:
        with short_path(path) as short:
            connection.connect(short)
    except OSError as error:
        connection.close()
        reason = render_reason(error.errno or 0)
        hint = "; no supervisor runs there" if error.errno in _GONE else ""
        if error.errno in {EACCES, EPERM}:
            hint = "; it is another user's; its owner can let you look with 'read' in [control]"
        if error.errno == EAGAIN:
            reason, hint = f": it has let nobody in for {_TIMEOUT_S} s", ""
        text = f"cannot connect to {path}{reason}{hint}"
        raise NoSupervisorError(text, may_come=error.errno in _GONE) from error
    return connection


def _check_owner(directory: str) -> None:
    """Refuse what somebody else has made, such as in /tmp, to be asked in a supervisor's place."""
    status = os.lstat(directory)
    reason = ""
    if not stat.S_ISDIR(status.st_mode):
        reason = "it is no directory"
    elif status.st_uid not in {0, os.geteuid()}:
        reason = f"it is user {status.st_uid}'s"
    elif status.st_mode & _WRITABLE_BY_OTHERS:
        reason = "others may write there"
    if reason:
        text = f"cannot trust what is in {directory}: {reason}"
        raise NoSupervisorError(f"{text}; use -s SOCKET if that is meant")


def _listens(path: str) -> bool:
    try:
        connect(path).close()
    except NoSupervisorError:
        return False
    return True
