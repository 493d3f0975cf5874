"""Which supervisor is meant, and how it is reached."""

import os
import socket
import stat
import struct
from collections.abc import Mapping, Sequence
from errno import EACCES, EAGAIN, ECONNREFUSED, ENOENT, EPERM

from mocker.isolation.errors import render_reason

from ..control_socket import list_sockets, short_path
from ..name_lock import list_runtime_directories

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
    if wanted and "/" in wanted:
        return wanted
    known = find_sockets(env)
    paths = known.get(wanted, []) if wanted else [path for each in known.values() for path in each]
    alive = [path for path in paths if len(paths) == 1 or _listens(path)]
    if len(alive) == 1:
        return alive[0]
    if alive:
        raise NoSupervisorError(_ask_which(known, alive))
    directories = list_runtime_directories(env, os.geteuid())
    for directory in directories:
        if list_sockets(directory) and (reason := _find_distrust(directory)):
            text = f"cannot trust what is in {directory}: {reason}"
            raise NoSupervisorError(f"{text}; use -s SOCKET if that is meant")
    where = " or ".join(directories)
    if wanted:
        others = [name for name in known if name != wanted]
        there = f"there are {', '.join(others)}" if others else "there is none"
        text = f"cannot find supervisor {wanted!r} in {where}: {there}"
        raise NoSupervisorError(text, may_come=True)
    text = f"cannot find a supervisor in {where}: none of this user's runs there"
    hint = "start one with 'mocker-supervise FILE', or use -s SOCKET"
    raise NoSupervisorError(f"{text}; {hint}", may_come=True)


def find_sockets(env: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the paths of the sockets of this user's supervisors, by name.

    What somebody else has made, such as in /tmp, is left out: it would be asked in their place.
    """
    found = dict[str, list[str]]()
    for directory in list_runtime_directories(env, os.geteuid()):
        sockets = list_sockets(directory)
        if sockets and not _find_distrust(directory):
            for name, path in sockets.items():
                found.setdefault(name, []).append(path)
    return found


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
            others = "only its owner and root may do that"
            if kind == socket.SOCK_STREAM:
                others = "its owner can let you look with 'read' in [control]"
            hint = f"; it is another user's; {others}"
        if error.errno == EAGAIN:
            reason, hint = f": it has let nobody in for {_TIMEOUT_S} s", ""
        text = f"cannot connect to {path}{reason}{hint}"
        raise NoSupervisorError(text, may_come=error.errno in _GONE) from error
    return connection


def _ask_which(known: Mapping[str, Sequence[str]], alive: Sequence[str]) -> str:
    names = [name for name, paths in known.items() if not set(paths).isdisjoint(alive)]
    which, word = (names, "NAME") if len(names) == len(alive) else (alive, "SOCKET")
    text = f"cannot choose among supervisors {', '.join(which)}"
    return f"{text}: say which with -s {word}, or set {VARIABLE}"


def _find_distrust(directory: str) -> str:
    """Return why what is in a directory may be somebody else's; "" if it is the user's own."""
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        return "it is no directory"
    if status.st_uid not in {0, os.geteuid()}:
        return f"it is user {status.st_uid}'s"
    return "others may write there" if status.st_mode & _WRITABLE_BY_OTHERS else ""


def _listens(path: str) -> bool:
    try:
        connect(path).close()
    except NoSupervisorError:
        return False
    return True
