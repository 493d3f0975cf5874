"""What of /proc and /sys no container sees, and what it may not write to.

In a user namespace root inside may not read or write most of it anyway, as it belongs to the host's
root; but not all, and the next kernel may have more. So both lists hold for every container.

A file is covered by /dev/null, a directory by an empty file system that forbids writing. Who has
rights over mounts inside can't take either off: they were mounted by the init, and in the command's
own mount namespace they are locked, see `privileges`.

All is done below one directory, in which /proc, /sys and /dev are mounted and nobody else has
anything, so no name on the way can be a link: the kernel has none there.

Source: the lists of docker, "Masked and read-only paths" of the OCI runtime specification;
mount_namespaces(7), proc(5).
"""

import os
from errno import EEXIST, ENOENT
from stat import S_ISCHR

from . import calls
from .errors import SetupError
from .syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
    mount,
)
from .tape import Call, perform

READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
HIDDEN_FILES = (
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
)
_HIDDEN_DIRECTORIES = (
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/acpi",
    "/proc/asound",
    "/proc/scsi",
)
_MOUNT_POINTS = ("/sys/kernel/debug", "/sys/kernel/tracing")  # in a sysfs that is new: empty
_PROCESSORS = "/sys/devices/system/cpu"
_NULL = "/dev/null"
_NULL_DEVICE = os.makedev(1, 3)  # null(4)
# What any mount has that is not for programs.
CLOSED = MS_NOSUID | MS_NODEV | MS_NOEXEC


def list_hidden_directories(*, own_network: bool) -> tuple[str, ...]:
    """Return the directories that no container sees, those of processors included.

    Args:
        own_network: Whether /sys is the container's own, and not the host's.
    """
    try:
        names = os.listdir(_PROCESSORS)
    except OSError:
        names = []
    paths = (f"{_PROCESSORS}/{name}/thermal_throttle" for name in sorted(names))
    mounted = () if own_network else _MOUNT_POINTS
    return (*_HIDDEN_DIRECTORIES, *mounted, *filter(os.path.isdir, paths))


def check_null() -> None:
    """Raise SetupError unless the caller's /dev/null is what its name says.

    In the place of a secret, what else it is would be seen, such as the target of a link.
    """
    try:
        stat = os.stat(_NULL)
    except OSError as error:
        raise SetupError("cover files with ", error.errno or 0, _NULL) from error
    if not S_ISCHR(stat.st_mode) or stat.st_rdev != _NULL_DEVICE:
        raise SetupError("cover files with ", 0, _NULL, "it is not the null device")


def forbid_writing() -> list[Call]:
    """Return the calls that make the parts of /proc read-only that steer the kernel.

    What is bound has the flags of the mount that it is bound from; so that forbids writing, for as
    long as this takes.
    """
    remount = MS_REMOUNT | MS_BIND | CLOSED
    names = [path[1:] for path in READ_ONLY]
    return [
        calls.mount("none", "proc", "", remount | MS_RDONLY),
        *(calls.mount(name, name, "", MS_BIND, tolerated=(ENOENT,)) for name in names),
        calls.mount("none", "proc", "", remount),
    ]


def try_masks() -> None:
    """Cover and forbid in the caller's namespaces, which must be new, and look whether that holds.

    Raises:
        OSError: The kernel refuses, or EEXIST: something can be seen or written to all the same.
    """
    mount("none", "/proc", "proc", CLOSED)
    os.chdir("/")
    perform([*forbid_writing(), *hide(list_hidden_directories(own_network=True))])
    if any(map(_shows_something, HIDDEN_FILES)) or not all(map(_forbids_writing, READ_ONLY)):
        raise OSError(EEXIST, os.strerror(EEXIST))


def _shows_something(path: str) -> bool:
    try:
        with open(path, "rb", buffering=0) as file:
            return bool(file.read(1))
    except FileNotFoundError:
        return False


def _forbids_writing(path: str) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except FileNotFoundError:
        return True


def hide(directories: tuple[str, ...]) -> list[Call]:
    """Return the calls that cover what tells of the host; what a kernel lacks is left out.

    Files are covered by the container's own /dev/null, which has the flags of a mount of it.

    Args:
        directories: See `list_hidden_directories`.
    """
    covered = [
        calls.mount(_NULL[1:], path[1:], "", MS_BIND, tolerated=(ENOENT,)) for path in HIDDEN_FILES
    ]
    # One is sure to be there, and is bound onto the others, some of which come with modules.
    first = next(filter(os.path.isdir, directories), None)
    if first is None:
        return covered
    flags, options = CLOSED | MS_RDONLY, "size=4k,nr_inodes=1,mode=0555"
    covered.append(calls.mount("none", first[1:], "tmpfs", flags, options))
    covered += (
        calls.mount(first[1:], path[1:], "", MS_BIND, tolerated=(ENOENT,))
        for path in directories
        if path != first
    )
    return covered
