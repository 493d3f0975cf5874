"""The system calls that an init and its command make, as parts of a `tape`.

A function that describes one system call has its name; `tape.perform` makes what it returns, or
`memory.walk` once `tape` has laid it out. Nothing is done before that. Here are those on files,
mounts, sockets and descriptors; `process_calls` has what a process does to itself.
"""

import os
from _collections_abc import Callable, Iterable
from struct import Struct

from . import syscalls
from .memory import (
    CALL_PYTHON,
    FAILED,
    LINK_EACH,
    STORE_INT,
    Action,
    Buffer,
    Cell,
    add_function,
    read_word,
)
from .tape import Argument, Call

ANY_RESULT = -(2**31)  # the least of one that says nothing
_F_DUPFD_CLOEXEC = 1030
_F_SETOWN = 8
_F_SETSIG = 10
_F_SETFL = 4
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # on every architecture, as in `syscalls`
_FSOPEN_CLOEXEC = _FSMOUNT_CLOEXEC = 1
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_MSG_DONTWAIT = 0x40
_MSG_NOSIGNAL = 0x4000
_SOCK_CLOEXEC = os.O_CLOEXEC
_POLLED, _POLLIN = Struct("ihh"), 1  # struct pollfd
_TREE_FLAGS = syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC
_MOVE_FLAGS = syscalls.MOVE_MOUNT_F_EMPTY_PATH | syscalls.MOVE_MOUNT_T_EMPTY_PATH

_NAMES = (
    "bcopy",
    "capset",
    "chdir",
    "clone",
    "close",
    "dup2",
    "eventfd",
    "execve",
    "fchdir",
    "fcntl",
    "getpid",
    "ioctl",
    "kill",
    "memcmp",
    "memmove",
    "memset",
    "mkdirat",
    "mmap",
    "mount",
    "msync",
    "munmap",
    "openat",
    "pivot_root",
    "poll",
    "prctl",
    "read",
    "recv",
    "recvmsg",
    "send",
    "sendmsg",
    "setgroups",
    "sethostname",
    "setns",
    "setpgid",
    "setresgid",
    "setresuid",
    "setrlimit",
    "setsid",
    "sigaction",
    "sigprocmask",
    "sigwaitinfo",
    "socket",
    "statx",
    "symlinkat",
    "syscall",
    "umask",
    "umount2",
    "unshare",
    "waitpid",
    "write",
)
_TAKE_ADDRESSES = {"bcopy", "clone", "memmove", "memset", "mmap", "msync", "munmap"}
_FUNCTIONS = {name: add_function(name, takes_addresses=name in _TAKE_ADDRESSES) for name in _NAMES}


def then(function: Callable[..., None], *arguments: object) -> Call:
    """Call a function of Python's between system calls; what it raises ends them."""
    return CALL_PYTHON, (Action(function, arguments),), 0, 0, None


def store_int(buffer: Buffer, offset: int, number: Cell) -> Call:
    """Write a number into a structure that a later call takes, as a C int."""
    return STORE_INT, (buffer, offset, number), 0, 0, None


def openat(dir_fd: Cell, path: str, flags: int, mode: int = 0, *, to: Cell) -> Call:
    """Open a path below a directory, close-on-exec."""
    return prepare("openat", dir_fd, os.fsencode(path), flags | os.O_CLOEXEC, mode, to=to)


def open_file(path: str, flags: int, mode: int = 0, *, to: Cell) -> Call:
    """Open a path, close-on-exec."""
    flags |= os.O_CLOEXEC
    return prepare("openat", syscalls.AT_FDCWD, os.fsencode(path), flags, mode, to=to)


def close(fd: Cell | int) -> Call:
    """Close a descriptor."""
    return prepare("close", fd)


def fchdir(fd: Cell) -> Call:
    """Go to a directory."""
    return prepare("fchdir", fd)


def chdir(path: str) -> Call:
    """Go to a directory."""
    return prepare("chdir", os.fsencode(path))


def mkdirat(dir_fd: Cell, name: str, mode: int) -> Call:
    """Make a directory."""
    return prepare("mkdirat", dir_fd, os.fsencode(name), mode)


def symlinkat(target: str, dir_fd: Cell, name: str) -> Call:
    """Make a symbolic link."""
    return prepare("symlinkat", os.fsencode(target), dir_fd, os.fsencode(name))


def link(name: str, others: Iterable[str]) -> Call:
    """Give an entry of the working directory, be it a symbolic link, more names there."""
    names = tuple(map(os.fsencode, others))
    return LINK_EACH, (os.fsencode(name), names, len(names)), 0, 0, None


def write(fd: Cell, content: bytes) -> Call:
    """Write all of `content`."""
    return prepare("write", fd, content, len(content), least=len(content))


def mount(
    source: str,
    target: str,
    fstype: str = "",
    flags: int = 0,
    data: str = "",
    *,
    tolerated: tuple[int, ...] = (),
) -> Call:
    """Mount a file system."""
    texts = os.fsencode(source), os.fsencode(target), fstype.encode()
    return prepare("mount", *texts, flags, os.fsencode(data), tolerated=tolerated)


def check_same(path: str, fd: Cell) -> list[Call]:
    """Fail, whatever errno says, if a path and a descriptor are not the same inode: statx(2)."""
    found, wanted = Buffer(syscalls.STATX_SIZE), Buffer(syscalls.STATX_SIZE)
    size = syscalls.STATX_SIZE
    return [
        prepare("statx", syscalls.AT_FDCWD, os.fsencode(path), 0, syscalls.STATX_INO, found),
        prepare("statx", fd, b"", syscalls.AT_EMPTY_PATH, syscalls.STATX_INO, wanted),
        # Below 0 if the first is the lesser; so one of the two is below 0 if they differ.
        prepare("memcmp", found, wanted, size),
        prepare("memcmp", wanted, found, size),
    ]


def umount2(target: str, flags: int) -> Call:
    """Unmount a file system."""
    return prepare("umount2", os.fsencode(target), flags)


def pivot_root(new_root: str, put_old: str) -> Call:
    """Make a mount the root."""
    return prepare("pivot_root", os.fsencode(new_root), os.fsencode(put_old))


def open_tree(path: str, *, recursive: bool = False, to: Cell) -> Call:
    """Clone the mount at a path of the host into a tree that is attached nowhere."""
    flags = _TREE_FLAGS | (syscalls.AT_RECURSIVE if recursive else 0)
    arguments = syscalls.OPEN_TREE, syscalls.AT_FDCWD, os.fsencode(path), flags
    return prepare("syscall", *arguments, to=to)


def mount_setattr(mount: Cell | str, attributes: int, *, recursive: bool = False) -> Call:
    """Set attributes of the mount at a path or a descriptor, or of all of its tree."""
    attr = syscalls.MountAttr(attr_set=attributes)
    flags = syscalls.AT_RECURSIVE if recursive else 0
    if isinstance(mount, str):
        place: tuple[Argument, ...] = syscalls.AT_FDCWD, os.fsencode(mount), flags
    else:
        place = mount, b"", flags | syscalls.AT_EMPTY_PATH
    arguments = syscalls.MOUNT_SETATTR, *place, bytes(attr), syscalls.sizeof(attr)
    return prepare("syscall", *arguments)


def move_mount(tree: Cell | int, target: Cell) -> Call:
    """Attach a tree to what a descriptor refers to."""
    return prepare("syscall", syscalls.MOVE_MOUNT, tree, b"", target, b"", _MOVE_FLAGS)


def new_mount(
    fstype: str, options: Iterable[tuple[str, str]], attributes: int = 0, *, to: Cell
) -> list[Call]:
    """Make a file system that is mounted nowhere yet: fsopen(2), fsconfig(2), fsmount(2)."""
    context = Cell(-1)
    return [
        prepare("syscall", _FSOPEN, fstype.encode(), _FSOPEN_CLOEXEC, to=context),
        *(
            _fsconfig(context, _FSCONFIG_SET_STRING, key.encode(), value.encode())
            for key, value in options
        ),
        _fsconfig(context, _FSCONFIG_CMD_CREATE, 0, 0),
        prepare("syscall", _FSMOUNT, context, _FSMOUNT_CLOEXEC, attributes, to=to),
        close(context),
    ]


def sethostname(name: str) -> Call:
    """Name the host."""
    encoded = os.fsencode(name)
    return prepare("sethostname", encoded, len(encoded))


def socket(family: int, kind: int, *, to: Cell) -> Call:
    """Open a socket, close-on-exec."""
    return prepare("socket", int(family), int(kind) | _SOCK_CLOEXEC, 0, to=to)


def ioctl(fd: Cell, request: int, argument: bytes | Buffer) -> Call:
    """Make a request of a device."""
    return prepare("ioctl", fd, request, argument)


def send(fd: int, message: bytes) -> Call:
    """Send a message without waiting, and without SIGPIPE."""
    return prepare("send", fd, message, len(message), _MSG_NOSIGNAL | _MSG_DONTWAIT)


def getpid(*, to: Cell) -> Call:
    """Look at the own pid."""
    return prepare("getpid", to=to)


def request_signal(fd: int, number: int) -> list[Call]:
    """Let the kernel send a signal to the process when something arrives at a socket: fcntl(2)."""
    pid = Cell(-1)
    return [
        getpid(to=pid),
        prepare("fcntl", fd, _F_SETOWN, pid),
        prepare("fcntl", fd, _F_SETSIG, number),
        prepare("fcntl", fd, _F_SETFL, os.O_ASYNC | os.O_RDWR),
    ]


def poll(fd: int, *, to: Cell) -> Call:
    """Look for a message without waiting; `to` is 1 if there is one, or nobody at the other end."""
    return prepare("poll", Buffer(_POLLED.size, _POLLED.pack(fd, _POLLIN, 0)), 1, 0, to=to)


def recv(fd: int, buffer: Buffer, *, to: Cell) -> Call:
    """Wait for a message; `to` is its length, 0 once the other end is gone."""
    return prepare("recv", fd, buffer, buffer.size, 0, to=to)


def check_message(buffer: Buffer, expected: bytes) -> list[Call]:
    """Fail, whatever errno says, if a buffer does not begin with these bytes."""
    size = len(expected)
    return [
        prepare("memcmp", buffer, expected, size),
        prepare("memcmp", expected, buffer, size),
    ]


def eventfd(*, to: Cell) -> Call:
    """Make a descriptor from which eight bytes can be read once they were written to it."""
    return prepare("eventfd", 0, os.EFD_CLOEXEC, to=to)


def read(fd: Cell, buffer: Buffer) -> Call:
    """Wait for as many bytes as the buffer has."""
    return prepare("read", fd, buffer, buffer.size, least=buffer.size)


def dup_above(fd: int, least: int, *, to: Cell) -> Call:
    """Duplicate a descriptor to a number from `least` on, close-on-exec."""
    return prepare("fcntl", fd, _F_DUPFD_CLOEXEC, least, to=to)


def dup2(fd: Cell, number: int) -> Call:
    """Duplicate a descriptor to a number."""
    return prepare("dup2", fd, number)


def close_range(first: int, last: int = -1, flags: int = 0) -> Call:
    """Close descriptors up to one, or up to the last (-1), or do with them what the flags say."""
    return prepare("syscall", syscalls.CLOSE_RANGE, first, last, flags)


def _fsconfig(context: Cell, command: int, key: bytes | int, value: bytes | int) -> Call:
    return prepare("syscall", _FSCONFIG, context, command, key, value, 0)


def has_failed(function: str) -> bool:
    """Return whether what failed last on a tape was this function of the C library."""
    return FAILED.value != 0 and read_word(FAILED.value) == _FUNCTIONS[function]


def prepare(
    function: str,
    *arguments: Argument,
    least: int = 0,
    tolerated: Iterable[int] = (),
    to: Cell | None = None,
) -> Call:
    """Describe a call of one of these functions of the C library.

    Args:
        function: Its name.
        arguments: At most six.
        least: What it returns at least if all is well.
        tolerated: Errors that are as good, at most eight below 256.
        to: Where its result goes.
    """
    errors = int.from_bytes(bytes(tolerated), "little")
    return _FUNCTIONS[function], arguments, least, errors, to
