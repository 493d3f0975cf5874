"""`mocker check-host`: what this host grants, a line each, and what to turn on."""

import os
import socket

from mocker.isolation import HostCheck, IsolationError, check_host
from mocker.isolation.errors import SetupError

from .sink_words import JOURNALD_SOCKET
from .stderr import write_line

_NOT_ENOUGH = 1


def print_host_checks() -> int:
    """Print the checks; return 0 only if `mocker run` can work here."""
    try:
        checks = [*check_host(), check_journald(JOURNALD_SOCKET)]
    except IsolationError as error:
        write_line(f"mocker check-host: {error}")
        return error.exit_code
    width = max(len(check.name) for check in checks)
    for check in checks:
        word = "ok" if check.granted else "MISSING" if check.needed else "absent"
        print(f"{word:8}{check.name:{width}}  {check.detail}")
    if all(check.granted for check in checks if check.needed):
        return os.EX_OK
    return _NOT_ENOUGH


def check_journald(path: str) -> HostCheck:
    """Return whether journald, or who takes its place, takes entries at a path."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.connect(path)
    except OSError as error:
        hint = "start systemd-journald, or name another socket: journald_socket"
        reason = SetupError("write to ", error.errno or 0, path, hint)
        detail = f"no sink 'journald': {reason}"
        return HostCheck("journald", detail, granted=False, needed=False)
    return HostCheck("journald", f"listens at {path}", granted=True, needed=False)
