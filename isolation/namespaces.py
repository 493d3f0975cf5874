"""Which namespaces a container has, and what is set in them once.

Source: namespaces(7), pivot_root(2), netdevice(7).
"""

import _socket as socket
import os
import struct

from . import calls
from .memory import Cell
from .process_calls import unshare
from .spec import ContainerSpec
from .steps import ROOT, Setup
from .syscalls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MNT_DETACH,
    MS_REC,
    MS_SLAVE,
    mount,
)
from .tape import Call
from .user_mapping import UserMapping

_ALWAYS = {
    "mount": CLONE_NEWNS,
    "pid": CLONE_NEWPID,
    "uts": CLONE_NEWUTS,
    "ipc": CLONE_NEWIPC,
    "cgroup": CLONE_NEWCGROUP,
}
_SIOCSIFFLAGS = 0x8914
_LAST_GROUP = 2**31 - 1  # the last that ping_group_range takes, icmp(7)
_IFF_UP = 0x1
_IFREQ = struct.Struct("16sH30x")  # struct ifreq with flags; 32 or 40 bytes are read

NOTIFY = Cell(shared=True)  # what the command's sd_notify(3) writes to; -1 without
_prepared: dict[
    int, tuple[Call, ...]
] = {}  # by the last group; the same for container after container


def namespace_flags(spec: ContainerSpec) -> dict[str, int]:
    """Return the namespaces that a container gets, by name, each with its clone flag."""
    if not spec.isolate:
        return {}
    flags = dict(_ALWAYS)
    if spec.userns == "private" and spec.network != "shared":
        flags["user"] = CLONE_NEWUSER
    if spec.network == "none":
        flags["network"] = CLONE_NEWNET
    return flags


def hide_cgroups() -> tuple[Call, ...]:
    """Show a container its own cgroup as the root of all.

    The namespace of the clone that has put it there has its parent's cgroup as the root.
    """
    return _HIDE_CGROUPS


def set_mounts_slave(_setup: Setup) -> None:
    """Keep mounts from propagating to the host.

    Slave and not private: what the host unmounts later goes away here too, so that no container
    holds up an unmount on the host. In a new user namespace the kernel does this by itself.
    """
    mount("none", "/", "", MS_REC | MS_SLAVE)


def set_up_network(mapping: UserMapping | None) -> tuple[Call, ...]:
    """Bring the loopback device up, and let everybody inside bind low ports and ping.

    The kernel gives the device 127.0.0.1 and ::1 itself. The command has no capability over this
    namespace, so what root may do elsewhere is granted here to all, as docker run does. The working
    directory has /proc, writable.
    """
    last_gid = _LAST_GROUP
    if mapping is not None:
        last_gid = min(last_gid, max((r.inside + r.count for r in mapping.gids), default=1) - 1)
    if last_gid not in _prepared:
        _prepared[last_gid] = tuple(_prepare_network(last_gid))
    return _prepared[last_gid]


def _prepare_network(last_gid: int) -> list[Call]:
    control, sysctl = Cell(-1), Cell(-1)
    made = [
        calls.socket(socket.AF_INET, socket.SOCK_DGRAM, to=control),
        calls.ioctl(control, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", _IFF_UP)),
        calls.close(control),
    ]
    for name, value in (
        ("ip_unprivileged_port_start", "0"),
        ("ping_group_range", f"0 {last_gid}"),
    ):
        made += [
            calls.open_file(f"proc/sys/net/ipv4/{name}", os.O_WRONLY, to=sysctl),
            calls.write(sysctl, value.encode()),
            calls.close(sysctl),
        ]
    return made


def open_notify(_setup: Setup, name: str) -> None:
    """Open the socket that the command's sd_notify(3) writes to, in the container's network.

    The kernel tells who has written (SO_PASSCRED), translated into the reader's PID namespace.
    """
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    notify.bind(b"\0" + os.fsencode(name))
    NOTIFY.value = notify.detach()


def pivot_to_root(*, layers: bool) -> tuple[Call, ...]:
    """Make the new root the only one, and let go of the host's.

    pivot_root(".", ".") puts the old root on top of the new one, so that no directory is needed
    for it. What is on top is then taken off: the file system with the layers, where there is one,
    because it lies on the old root, and the old root with everything below it.
    """
    return _PIVOTS[layers]


def _pivot(on_top: int) -> tuple[Call, ...]:
    return (
        calls.fchdir(ROOT),
        calls.pivot_root(".", "."),
        *([calls.umount2(".", MNT_DETACH)] * on_top),
        calls.chdir("/"),
        # A lookup of ".." at the root goes to whatever is mounted on top of it.
        *calls.check_same("/..", ROOT),
    )


_HIDE_CGROUPS = (unshare(CLONE_NEWCGROUP),)
_PIVOTS = {False: _pivot(1), True: _pivot(2)}
