"""A scope of its own from systemd, delegated, for a process that has no delegated cgroup.

Who moves into another cgroup by itself needs to own everything up to what both have in common; an
ordinary user does not, but its service manager can ask that of the machine's. So the manager is
told to start a scope with the process in it, as systemd-run(1) does with `--scope`; the scope goes
away with the last process in it. The manager is asked over its private socket, which it has with
and without a message bus.

Source: org.freedesktop.systemd1(5), systemd.resource-control(5) "Delegate=", systemd's
CGROUP_DELEGATION.md.
"""

import os
import time
from _collections_abc import Sequence
from errno import ETIMEDOUT

from .dbus import Method, Value, array, call, entry, number, read_truth, text
from .errors import SetupError

_BOOTED = "/run/systemd/system"  # sd_booted(3)
_MANAGER = "/org/freedesktop/systemd1"
_INTERFACES = {
    ".scope": "org.freedesktop.systemd1.Scope",
    ".service": "org.freedesktop.systemd1.Service",
}
START = Method(
    _MANAGER, "org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))"
)
_PATIENCE_S = 10.0  # for the job to be done that the manager has queued
_POLL_S = 0.005
_STEP = "start a scope of systemd's"


def has_systemd() -> bool:
    """Return whether systemd is the machine's first process, and cgroups are its business."""
    return os.path.isdir(_BOOTED)


def find_manager() -> str:
    """Return the private socket of the caller's service manager; nothing if there is none."""
    uid = os.geteuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    path = f"{runtime}/systemd/private" if uid else "/run/systemd/private"
    return path if has_systemd() and os.path.exists(path) else ""


def is_unit_delegated(manager: str, unit: str) -> bool:
    """Ask a manager whether one of its units is delegated; an unknown one is not.

    A user's manager tells so on the cgroup itself from systemd 253 on alone.
    """
    interface = _INTERFACES.get(os.path.splitext(unit)[1])
    if interface is None:
        return False
    method = Method(
        f"{_MANAGER}/unit/{escape(unit)}", "org.freedesktop.DBus.Properties", "Get", "ss"
    )
    try:
        return read_truth(call(manager, method, [text(interface), text("Delegate")], _STEP))
    except SetupError:
        return False


def escape(unit: str) -> str:
    """Return the name of a unit as the last part of its object's path."""
    escaped = ""
    for place, byte in enumerate(os.fsencode(unit)):
        letter = chr(byte)
        plain = letter.isascii() and (letter.isalpha() or (place and letter.isdigit()))
        escaped += letter if plain else f"_{byte:02x}"
    return escaped


def start_scope(manager: str, pids: Sequence[int]) -> None:
    """Move processes into a new scope, delegated with all controllers; returns when they are there.

    Args:
        manager: The socket, as `find_manager` has it.
        pids: Of the caller's own processes.

    Raises:
        SetupError: The manager refuses, or can't be asked.
    """
    name = f"mocker-{pids[0]}-{os.urandom(4).hex()}.scope"
    call(manager, START, list_arguments(name, pids), _STEP)
    _wait_moved(name, pids)


def list_arguments(name: str, pids: Sequence[int]) -> list[Value]:
    """Return what the manager is told about a scope."""
    properties = [
        entry("Description", "s", text("containers of mocker")),
        entry("PIDs", "au", array([number(pid) for pid in pids])),
        entry("Delegate", "b", number(1)),
        entry("CollectMode", "s", text("inactive-or-failed")),
    ]
    return [text(name), text("fail"), array(properties, 8), array([], 8)]


def _wait_moved(name: str, pids: Sequence[int]) -> None:
    """Wait until processes are in a scope: the answer tells that the job is queued."""
    deadline = time.monotonic() + _PATIENCE_S
    while not all(_is_inside(pid, name) for pid in pids):
        if time.monotonic() > deadline:
            hint = f"{name} has not begun after {_PATIENCE_S:.0f} s"
            raise SetupError(_STEP, ETIMEDOUT, hint=hint)
        time.sleep(_POLL_S)


def _is_inside(pid: int, name: str) -> bool:
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n") for line in file]
    except (FileNotFoundError, ProcessLookupError):
        return True  # it has ended, and is nowhere else
    return any(line.startswith("0::") and line.endswith(f"/{name}") for line in lines)
