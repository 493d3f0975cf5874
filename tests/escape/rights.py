"""Probes of capabilities, IDs and devices: what only the root of the host may do."""

import ctypes
import fcntl
import os
import socket
import subprocess
import tempfile
from pathlib import Path
from stat import S_ISBLK, S_ISCHR

from .kernel import call, read_status
from .probe import (
    CAPABILITIES,
    HOST,
    NOT_ROOT,
    OTHER_NAMESPACE,
    ROOT,
    ROOT_CAPABILITIES,
    USER,
    Facts,
    NothingError,
    Wall,
    probe,
)

# What docker run(1) leaves to root inside.
_DOCKERS = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))
_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_SYS_ADMIN = 21
_VERSION = 0x20080522  # of the header of capget(2)
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_PR_GET_NO_NEW_PRIVS = 39
_RNDRESEEDCRNG = 0x5207
_HARMLESS = {"full", "null", "ptmx", "random", "tty", "urandom", "zero"}
_MAX_HANDLE = 128  # bytes

_BOUNDING = CAPABILITIES._replace(whom=(ROOT, USER))
_AS_ROOT = Wall("a user has none", "as root inside")
_CHROOT = Wall("pivot_root", "namespaces alone", place="namespaces")
_NO_DEVICES = Wall("no device nodes", "no container", place=HOST, whom=(ROOT, USER))
_NODEV = Wall("nodev", "no container", place=HOST, whom=(ROOT, USER))
_GROUPS = Wall("groups are dropped", "no container", place=HOST, needs_root=True, whom=(ROOT, USER))
_NO_NEW_PRIVS = Wall("no_new_privs", "--allow-new-privs", ("--allow-new-privs",), whom=(ROOT, USER))
_DIRECTORY = ("--rootfs", "{skeleton}", "-v", "/usr:/usr:ro")
_NOSUID = Wall(
    "no_new_privs, nosuid",
    "--allow-new-privs, in the root",
    ("--allow-new-privs", *_DIRECTORY),
    facts={"setuid": "/setuid-id"},
    whom=(USER,),
)
_NO_SETUID = Wall(
    "no_new_privs", "--allow-new-privs", ("--allow-new-privs", *_DIRECTORY), whom=(USER,)
)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = tuple(
        (f"{name}{half}", ctypes.c_uint32)
        for half in (0, 1)
        for name in ("effective", "permitted", "inheritable")
    )


class _Handle(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint32),
        ("type", ctypes.c_int),
        ("handle", ctypes.c_char * _MAX_HANDLE),
    )


def raise_capability(*names: str) -> None:
    """Add CAP_SYS_ADMIN to sets of the calling process."""
    header, sets = _Header(_VERSION, 0), _Sets()
    call("capget", header, sets)
    for name in names:
        setattr(sets, f"{name}0", getattr(sets, f"{name}0") | 1 << _SYS_ADMIN)
    call("capset", header, sets)


@probe("C-sets", _BOUNDING, "what docker leaves")
def look_at_capabilities(facts: Facts) -> None:
    """Have a capability in any set that docker does not leave."""
    if not any(read_status(name) & ~_DOCKERS for name in _SETS):
        raise NothingError("what docker leaves")


@probe("C-user", _AS_ROOT, "", user="none")
def look_at_capabilities_of_user(facts: Facts) -> None:
    """Have any capability as a user."""
    if not any(read_status(name) for name in _SETS if name != "CapBnd"):
        raise NothingError("none")


@probe("C-capset", CAPABILITIES, "EPERM")
def take_capability(facts: Facts) -> None:
    """Take a capability that was dropped."""
    raise_capability("permitted", "effective")


@probe("C-ambient", CAPABILITIES, "EPERM")
def pass_capability_on(facts: Facts) -> None:
    """Pass a capability on to programs that are executed."""
    raise_capability("inheritable")
    call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _SYS_ADMIN, 0, 0)


@probe("C-handle", ROOT_CAPABILITIES, "EPERM")
def open_by_handle(facts: Facts) -> None:
    """Open a file by its number, past all directories."""
    path, handle = Path(facts["readable"], "canary"), _Handle(_MAX_HANDLE)
    call("name_to_handle_at", -1, os.fsencode(path), handle, ctypes.create_string_buffer(8), 0)
    mount = os.open(path.parent, os.O_RDONLY)
    os.close(call("open_by_handle_at", mount, handle, os.O_RDONLY))


@probe("C-chroot", _CHROOT, "ENOENT")
def escape_from_chroot(facts: Facts) -> None:
    """Climb out of a chroot to a file of the host's."""
    outside = os.open("/", os.O_RDONLY)
    os.chroot(tempfile.mkdtemp())
    os.fchdir(outside)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    os.close(os.open(f"{facts['hidden']}/canary", os.O_RDONLY))


@probe("C-raw-socket", OTHER_NAMESPACE, "EPERM")
def open_raw_socket(facts: Facts) -> None:
    """Make packets by hand."""
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


@probe("C-packet-socket", OTHER_NAMESPACE, "EPERM")
def open_packet_socket(facts: Facts) -> None:
    """Listen to everybody's packets."""
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()


@probe("C-schedule", NOT_ROOT, "EPERM")
def run_before_everybody(facts: Facts) -> None:
    """Run before every process of the host's (SCHED_FIFO)."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


@probe("D-nodes", _NO_DEVICES, "the harmless ones")
def find_devices(facts: Facts) -> None:
    """Find a device in /dev that is not harmless."""
    nodes = {path.name for path in Path("/dev").iterdir() if _is_device(path)}
    if nodes <= _HARMLESS:
        raise NothingError("the harmless ones")


@probe("D-mknod", ROOT_CAPABILITIES, "EPERM")
def make_device(facts: Facts) -> None:
    """Make a device node."""
    path = Path(tempfile.mkdtemp(), "null")
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))


@probe("D-node-of-volume", _NODEV, "EACCES")
def open_device_of_volume(facts: Facts) -> None:
    """Open a device node in a volume."""
    os.close(os.open(facts["node"], os.O_RDONLY))


@probe("D-kmsg", NOT_ROOT, "ENOENT")
def read_kernel_log(facts: Facts) -> None:
    """Read the kernel's log from /dev/kmsg."""
    os.close(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK))


@probe("D-random", NOT_ROOT, "EPERM")
def reseed_random_numbers(facts: Facts) -> None:
    """Meddle with the host's random numbers."""
    device = os.open("/dev/urandom", os.O_RDONLY)
    fcntl.ioctl(device, _RNDRESEEDCRNG)


@probe("F-groups", _GROUPS, "none")
def look_at_groups(facts: Facts) -> None:
    """Have a group that the caller is in."""
    if not set(os.getgroups()) - {os.getgid()}:
        raise NothingError("none")


@probe("F-unmapped-id", NOT_ROOT, "EINVAL")
def become_somebody_of_host(facts: Facts) -> None:
    """Become a user who is not the container's."""
    os.setuid(2**31)


@probe("F-setuid", _NOSUID, "", user="1000")
def execute_setuid_program(facts: Facts) -> None:
    """Become root by a setuid program in a volume."""
    become_root_by(facts["setuid"])


@probe("F-setuid-of-root", _NO_SETUID, "", user="1000", options=_DIRECTORY)
def execute_setuid_program_of_root(facts: Facts) -> None:
    """Become root by a setuid program in the directory that is the root."""
    become_root_by(facts["setuid-of-root"])


def become_root_by(setuid: str) -> None:
    """Have a setuid program of root's say who it is, which must be root."""
    told = subprocess.run([setuid, "-u"], capture_output=True, text=True, check=True)
    if told.stdout != "0\n":
        raise NothingError(told.stdout.strip())


@probe("F-no-new-privs", _NO_NEW_PRIVS, "1")
def look_at_no_new_privs(facts: Facts) -> None:
    """Gain rights by executing a program."""
    if kept := call("prctl", _PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0):
        raise NothingError(str(kept))


def _is_device(path: Path) -> bool:
    mode = path.stat(follow_symlinks=False).st_mode
    return S_ISCHR(mode) or S_ISBLK(mode)
