"""The system calls that Python does not offer, under the kernel's own names.

Each function takes Python values, and raises OSError with the kernel's errno. Nothing is loaded
lazily: the functions are called after pivot_root, when the standard library is out of reach.

Python offers what the C library had on the machine that it was built on. Those of uv and conda are
built on systems so old, for all others to run them, that they know neither pidfds nor files in
memory; so whatever is younger than 2012 is here.

Calls are made by number where the C library of the oldest promised system has no wrapper. From
number 424 on, Linux gives a call the same number on every architecture (alpha apart, which counts
110 more), so no table by architecture is needed.
"""

import ctypes
import os
import sys
from errno import EINVAL

from .library import libc
from .machine import find_machine

CLONE_PIDFD = 0x1000
CLONE_PARENT = 0x8000
CLONE_PARENT_SETTID = 0x10_0000
CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000
CLONE_INTO_CGROUP = 0x2_0000_0000
ALL_NAMESPACES = (
    CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET
)

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 0x8_0000
MNT_DETACH = 2

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_IDMAP = 0x10_0000

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10

CLOSE_RANGE_CLOEXEC = 4

P_PIDFD = 3

MFD_CLOEXEC = 0x1
MFD_ALLOW_SEALING = 0x2
F_ADD_SEALS = 1033
F_SEAL_SEAL = 0x1
F_SEAL_SHRINK = 0x2
F_SEAL_GROW = 0x4
F_SEAL_WRITE = 0x8
ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE

STATX_INO = 0x100
STATX_SIZE = 256  # bytes of struct statx

ALL_SIGNALS = 2**64 - 1
SIG_SETMASK = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39

SECCOMP_MODE_FILTER = 2

PIDFD_SEND_SIGNAL = 424
OPEN_TREE = 428
MOVE_MOUNT = 429
PIDFD_OPEN = 434
CLONE3 = 435
CLOSE_RANGE = 436
OPENAT2 = 437
MOUNT_SETATTR = 442

_MAX_FD = 0xFFFF_FFFF

# Older than the calls with one number for all.
CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "ppc64le": 120}
KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "s390x": 280, "ppc64le": 271}
KEYCTL_JOIN_SESSION_KEYRING = 1

_syscall = libc.syscall
_syscall.restype = ctypes.c_long
_mount = libc.mount
_mount.argtypes = [
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
]
_unshare = libc.unshare
_unshare.argtypes = [ctypes.c_int]
_prctl = libc.prctl
_prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_sigprocmask = libc.sigprocmask
_sigprocmask.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_Sigset = ctypes.c_uint64 * 16  # sigset_t; the kernel uses the first 64 bits


sizeof = ctypes.sizeof


class CloneArgs(ctypes.Structure):
    """struct clone_args of clone3(2), as of Linux 5.7."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    )


class OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class MountAttr(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def clone3(flags: int, exit_signal: int, cgroup: int = -1) -> tuple[int, int]:
    """Clone the calling process, like a fork with namespaces.

    The process must have one thread: the child goes on in Python, and a lock that another thread
    held would never be released there.

    Args:
        flags: CLONE_NEWUSER, CLONE_PARENT and others.
        exit_signal: What the parent gets at its end.
        cgroup: The directory of the cgroup that it is born in; -1 for the caller's.

    Returns:
        (pid, pidfd) in the parent, (0, -1) in the child. The pidfd is close-on-exec.
    """
    pidfd = ctypes.c_int(-1)
    if cgroup >= 0:
        flags |= CLONE_INTO_CGROUP
    if flags & (ALL_NAMESPACES | CLONE_INTO_CGROUP) or has_clone3():
        args = CloneArgs(
            flags=flags | CLONE_PIDFD,
            pidfd=ctypes.addressof(pidfd),
            exit_signal=exit_signal,
            cgroup=max(0, cgroup),
        )
        pid = _check(_syscall(CLONE3, ctypes.byref(args), ctypes.c_size_t(ctypes.sizeof(args))))
    else:
        word = flags | CLONE_PIDFD | exit_signal
        pid = _check(_syscall(CLONE[find_machine()], word, None, ctypes.byref(pidfd), 0, 0))
    return pid, pidfd.value if pid else -1


def has_clone3() -> bool:
    """Whether clone3(2) can be called; a plain fork can do with clone(2) where it can't.

    A filter of system calls can't look into clone3's arguments. So docker's denies it altogether,
    as if the kernel did not know it.
    """
    if find_machine() not in CLONE:
        return True
    return _syscall(CLONE3, None, ctypes.c_size_t(0)) < 0 and ctypes.get_errno() == EINVAL


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> None:
    """Call mount(2); an empty fstype or data is passed as NULL."""
    _check(
        _mount(
            os.fsencode(source),
            os.fsencode(target),
            fstype.encode() or None,
            flags,
            os.fsencode(data) or None,
        )
    )


def open_tree(path: str, flags: int, dir_fd: int = AT_FDCWD) -> int:
    """Call open_tree(2); returns a close-on-exec descriptor."""
    return _check(
        _syscall(
            OPEN_TREE,
            ctypes.c_int(dir_fd),
            os.fsencode(path),
            ctypes.c_uint(flags | OPEN_TREE_CLOEXEC),
        )
    )


def move_mount(tree_fd: int, target_fd: int) -> None:
    """Call move_mount(2) from a descriptor onto a descriptor, so that no path is resolved."""
    _check(
        _syscall(
            MOVE_MOUNT,
            ctypes.c_int(tree_fd),
            b"",
            ctypes.c_int(target_fd),
            b"",
            ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
        )
    )


def mount_setattr(
    fd: int,
    attr_set: int,
    *,
    recursive: bool,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """Call mount_setattr(2) on the mount that a descriptor refers to."""
    attr = MountAttr(attr_set, attr_clr, propagation, userns_fd)
    _check(
        _syscall(
            MOUNT_SETATTR,
            ctypes.c_int(fd),
            b"",
            ctypes.c_uint(AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)),
            ctypes.byref(attr),
            ctypes.c_size_t(ctypes.sizeof(attr)),
        )
    )


def openat2(dir_fd: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """Call openat2(2); returns a close-on-exec descriptor."""
    how = OpenHow(flags=flags | os.O_CLOEXEC, mode=mode, resolve=resolve)
    return _check(
        _syscall(
            OPENAT2,
            ctypes.c_int(dir_fd),
            os.fsencode(path),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
    )


def close_all_but(*fds: int, first: int = 0) -> None:
    """Close every descriptor from `first` on, except these."""
    leave_perf()
    for fd in sorted(fds):
        if fd > first:
            _close_range(first, fd - 1, 0)
        first = max(first, fd + 1)
    _close_range(first, _MAX_FD, 0)


def leave_perf() -> None:
    """Let Python tell perf(1) nothing any more, before the descriptor for that is closed.

    With PYTHONPERFSUPPORT it writes there whenever a function is called for the first time,
    whatever has the number by then.
    """
    if sys.version_info >= (3, 12) and sys.is_stack_trampoline_active():
        sys.deactivate_stack_trampoline()


def unshare(flags: int) -> None:
    """Call unshare(2), which Python has from 3.12 on."""
    _check(_unshare(flags))


def setns(fd: int) -> None:
    """Call setns(2), which Python has from 3.12 on, with a descriptor of one namespace."""
    _check(libc.setns(fd, 0))


def prctl(option: int, argument: int = 0, argument3: int = 0) -> int:
    """Call prctl(2) for the options that take numbers."""
    return _check(_prctl(option, argument, argument3, 0, 0))


def pidfd_open(pid: int) -> int:
    """Call pidfd_open(2); returns a close-on-exec descriptor."""
    return _check(_syscall(PIDFD_OPEN, ctypes.c_int(pid), ctypes.c_uint(0)))


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """Call pidfd_send_signal(2), as kill(2) does for a pid."""
    no_flags = ctypes.c_uint(0)
    _check(_syscall(PIDFD_SEND_SIGNAL, ctypes.c_int(pidfd), ctypes.c_int(number), None, no_flags))


def memfd_create(name: str) -> int:
    """Call memfd_create(2); returns a close-on-exec descriptor of a file that can be sealed."""
    return _check(libc.memfd_create(os.fsencode(name), MFD_CLOEXEC | MFD_ALLOW_SEALING))


def set_child_subreaper() -> None:
    """Adopt what the calling process's descendants leave behind, in place of the machine's init."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def set_process_name(name: str) -> None:
    """Name the calling thread for ps(1) and top(1); the kernel keeps 15 bytes."""
    text = ctypes.create_string_buffer(name.encode())
    prctl(PR_SET_NAME, ctypes.addressof(text))


def sigprocmask(how: int, mask: int) -> int:
    """Call sigprocmask(2) with a bit mask, in which bit 0 is signal 1, and return the former one.

    The signal module does the same with sets of named numbers, which takes as long as a fork.
    """
    new, old = _Sigset(mask), _Sigset()
    _check(_sigprocmask(how, ctypes.byref(new), ctypes.byref(old)))
    return int(old[0])


def _close_range(first: int, last: int, flags: int) -> None:
    _check(_syscall(CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(flags)))


def _check(result: int) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result
