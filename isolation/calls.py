"""The system calls that an init and its command make, as parts of a `tape`.

A function that describes one system call has its name; `tape.perform` makes what it returns, or
`memory.walk` once `tape` has laid it out. Nothing is done before that.
"""

import os
from _collections_abc import Callable, Iterable, Mapping, Sequence
from errno import EAGAIN, EINVAL, ENOSYS, EPERM
from struct import Struct

from . import syscalls
from .memory import CALL_PYTHON, LINK_EACH, Action, Buffer, Cell, add_function
from .tape import Argument, Call

_F_DUPFD_CLOEXEC = 1030
_F_SETOWN = 8
_F_SETFL = 4
_MSG_PEEK = 0x02
_MSG_DONTWAIT = 0x40
_MSG_NOSIGNAL = 0x4000
_SOCK_CLOEXEC = os.O_CLOEXEC
_TREE_FLAGS = syscalls.OPEN_TREE_CLONE | syscalls.OPEN_TREE_CLOEXEC
_MOVE_FLAGS = syscalls.MOVE_MOUNT_F_EMPTY_PATH | syscalls.MOVE_MOUNT_T_EMPTY_PATH
_RESOLVE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_ANY_RESULT = -(2**31)
_SIGSET_SIZE = 128  # bytes of the C library's sigset_t
_SIGACTION_SIZE = 256  # bytes, and more than its struct sigaction has anywhere
_IDS = Struct("I")

_NAMES = (
    "chdir",
    "close",
    "dup2",
    "eventfd",
    "execve",
    "fchdir",
    "fcntl",
    "getpid",
    "ioctl",
    "memcmp",
    "memmove",
    "memset",
    "mkdirat",
    "mount",
    "openat",
    "pivot_root",
    "prctl",
    "read",
    "recv",
    "send",
    "setgroups",
    "sethostname",
    "setpgid",
    "setresgid",
    "setresuid",
    "setsid",
    "sigaction",
    "sigprocmask",
    "socket",
    "statx",
    "symlinkat",
    "syscall",
    "umask",
    "umount2",
    "write",
)
_FUNCTIONS = {
    name: add_function(name, takes_addresses=name in {"memmove", "memset"}) for name in _NAMES
}


def then(function: Callable[..., None], *arguments: object) -> Call:
    """Call a function of Python's between system calls; what it raises ends them."""
    return CALL_PYTHON, (Action(function, arguments),), 0, 0, None


def openat(dir_fd: Cell, path: str, flags: int, mode: int = 0, *, to: Cell) -> Call:
    """Open a path below a directory, close-on-exec."""
    return _prepare("openat", dir_fd, os.fsencode(path), flags | os.O_CLOEXEC, mode, to=to)


def open_file(path: str, flags: int, mode: int = 0, *, to: Cell) -> Call:
    """Open a path, close-on-exec."""
    flags |= os.O_CLOEXEC
    return _prepare("openat", syscalls.AT_FDCWD, os.fsencode(path), flags, mode, to=to)


def open_in_root(root: Cell, path: str, flags: int, *, to: Cell) -> Call:
    """Open a path with openat2(2), as a process would whose root is `root`; close-on-exec."""
    how = syscalls.OpenHow(flags=flags | os.O_CLOEXEC, resolve=_RESOLVE)
    return _prepare(
        "syscall",
        syscalls.OPENAT2,
        root,
        os.fsencode(path),
        bytes(how),
        syscalls.sizeof(how),
        to=to,
    )


def close(fd: Cell | int) -> Call:
    """Close a descriptor."""
    return _prepare("close", fd)


def fchdir(fd: Cell) -> Call:
    """Go to a directory."""
    return _prepare("fchdir", fd)


def chdir(path: str) -> Call:
    """Go to a directory."""
    return _prepare("chdir", os.fsencode(path))


def mkdirat(dir_fd: Cell, name: str, mode: int) -> Call:
    """Make a directory."""
    return _prepare("mkdirat", dir_fd, os.fsencode(name), mode)


def symlinkat(target: str, dir_fd: Cell, name: str) -> Call:
    """Make a symbolic link."""
    return _prepare("symlinkat", os.fsencode(target), dir_fd, os.fsencode(name))


def link(name: str, others: Iterable[str]) -> Call:
    """Give an entry of the working directory, be it a symbolic link, more names there."""
    names = tuple(map(os.fsencode, others))
    return LINK_EACH, (os.fsencode(name), names, len(names)), 0, 0, None


def write(fd: Cell, content: bytes) -> Call:
    """Write all of `content`."""
    return _prepare("write", fd, content, len(content), least=len(content))


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> Call:
    """Mount a file system."""
    texts = os.fsencode(source), os.fsencode(target), fstype.encode()
    return _prepare("mount", *texts, flags, os.fsencode(data))


def check_same(path: str, fd: Cell) -> list[Call]:
    """Fail, whatever errno says, if a path and a descriptor are not the same inode: statx(2)."""
    found, wanted = Buffer(syscalls.STATX_SIZE), Buffer(syscalls.STATX_SIZE)
    size = syscalls.STATX_SIZE
    return [
        _prepare("statx", syscalls.AT_FDCWD, os.fsencode(path), 0, syscalls.STATX_INO, found),
        _prepare("statx", fd, b"", syscalls.AT_EMPTY_PATH, syscalls.STATX_INO, wanted),
        # Below 0 if the first is the lesser; so one of the two is below 0 if they differ.
        _prepare("memcmp", found, wanted, size),
        _prepare("memcmp", wanted, found, size),
    ]


def umount2(target: str, flags: int) -> Call:
    """Unmount a file system."""
    return _prepare("umount2", os.fsencode(target), flags)


def pivot_root(new_root: str, put_old: str) -> Call:
    """Make a mount the root."""
    return _prepare("pivot_root", os.fsencode(new_root), os.fsencode(put_old))


def open_tree(path: str, *, to: Cell) -> Call:
    """Clone the mount at a path of the host into a tree that is attached nowhere."""
    arguments = syscalls.OPEN_TREE, syscalls.AT_FDCWD, os.fsencode(path), _TREE_FLAGS
    return _prepare("syscall", *arguments, to=to)


def mount_setattr(tree: Cell, attributes: int) -> Call:
    """Set attributes of one mount."""
    attr = syscalls.MountAttr(attr_set=attributes)
    arguments = (
        syscalls.MOUNT_SETATTR,
        tree,
        b"",
        syscalls.AT_EMPTY_PATH,
        bytes(attr),
        syscalls.sizeof(attr),
    )
    return _prepare("syscall", *arguments)


def move_mount(tree: Cell, target: Cell) -> Call:
    """Attach a tree to what a descriptor refers to."""
    return _prepare("syscall", syscalls.MOVE_MOUNT, tree, b"", target, b"", _MOVE_FLAGS)


def new_mount(fstype: str, options: Iterable[tuple[str, str]], *, to: Cell) -> list[Call]:
    """Make a file system that is mounted nowhere yet: fsopen(2), fsconfig(2), fsmount(2)."""
    context = Cell(-1)
    return [
        _prepare("syscall", syscalls.FSOPEN, fstype.encode(), syscalls.FSOPEN_CLOEXEC, to=context),
        *(
            _fsconfig(context, syscalls.FSCONFIG_SET_STRING, key.encode(), value.encode())
            for key, value in options
        ),
        _fsconfig(context, syscalls.FSCONFIG_CMD_CREATE, 0, 0),
        _prepare("syscall", syscalls.FSMOUNT, context, syscalls.FSMOUNT_CLOEXEC, 0, to=to),
        close(context),
    ]


def sethostname(name: str) -> Call:
    """Name the host."""
    encoded = os.fsencode(name)
    return _prepare("sethostname", encoded, len(encoded))


def socket(family: int, kind: int, *, to: Cell) -> Call:
    """Open a socket, close-on-exec."""
    return _prepare("socket", int(family), int(kind) | _SOCK_CLOEXEC, 0, to=to)


def ioctl(fd: Cell, request: int, argument: bytes | Buffer) -> Call:
    """Make a request of a device."""
    return _prepare("ioctl", fd, request, argument)


def send(fd: int, message: bytes) -> Call:
    """Send a message without waiting, and without SIGPIPE."""
    return _prepare("send", fd, message, len(message), _MSG_NOSIGNAL | _MSG_DONTWAIT)


def getpid(*, to: Cell) -> Call:
    """Look at the own pid."""
    return _prepare("getpid", to=to)


def request_sigio(fd: int) -> list[Call]:
    """Let the kernel send SIGIO to the process when something arrives at a socket: fcntl(2)."""
    pid = Cell(-1)
    return [
        getpid(to=pid),
        _prepare("fcntl", fd, _F_SETOWN, pid),
        _prepare("fcntl", fd, _F_SETFL, os.O_ASYNC | os.O_RDWR),
    ]


def peek(fd: int, *, to: Cell) -> Call:
    """Look for a message without waiting; `to` is 1, 0 if the other end is gone, else -1."""
    flags = _MSG_PEEK | _MSG_DONTWAIT
    return _prepare("recv", fd, Buffer(1), 1, flags, tolerated=(EAGAIN,), to=to)


def recv(fd: int, buffer: Buffer, *, to: Cell) -> Call:
    """Wait for a message; `to` is its length, 0 once the other end is gone."""
    return _prepare("recv", fd, buffer, buffer.size, 0, to=to)


def check_message(buffer: Buffer, expected: bytes) -> list[Call]:
    """Fail, whatever errno says, if a buffer does not begin with these bytes."""
    size = len(expected)
    return [
        _prepare("memcmp", buffer, expected, size),
        _prepare("memcmp", expected, buffer, size),
    ]


def eventfd(*, to: Cell) -> Call:
    """Make a descriptor from which eight bytes can be read once they were written to it."""
    return _prepare("eventfd", 0, os.EFD_CLOEXEC, to=to)


def read(fd: Cell, buffer: Buffer) -> Call:
    """Wait for as many bytes as the buffer has."""
    return _prepare("read", fd, buffer, buffer.size, least=buffer.size)


def dup_above(fd: int, least: int, *, to: Cell) -> Call:
    """Duplicate a descriptor to a number from `least` on, close-on-exec."""
    return _prepare("fcntl", fd, _F_DUPFD_CLOEXEC, least, to=to)


def dup2(fd: Cell, number: int) -> Call:
    """Duplicate a descriptor to a number."""
    return _prepare("dup2", fd, number)


def close_range(first: int, last: int = -1, flags: int = 0) -> Call:
    """Close descriptors up to one, or up to the last (-1), or do with them what the flags say."""
    return _prepare("syscall", syscalls.CLOSE_RANGE, first, last, flags)


def umask(mask: int) -> Call:
    """Set the permissions that new files do not get."""
    return _prepare("umask", mask)


def setsid() -> Call:
    """Leave the caller's session."""
    return _prepare("setsid")


def setpgid() -> Call:
    """Lead a process group."""
    return _prepare("setpgid", 0, 0)


def clone3(flags: int, exit_signal: int, *, to: Cell) -> Call:
    """Clone the process, like a fork with namespaces; `to` is the pid, or 0 in the child."""
    if not flags and not syscalls.has_clone3():
        return _prepare(
            "syscall", syscalls.CLONE[os.uname().machine], exit_signal, 0, 0, 0, 0, to=to
        )
    args = syscalls.CloneArgs(flags=flags, exit_signal=exit_signal)
    return _prepare("syscall", syscalls.CLONE3, bytes(args), syscalls.sizeof(args), to=to)


def prctl(option: int, argument: int) -> Call:
    """Set an option of the process that is a number."""
    return _prepare("prctl", option, argument, 0, 0, 0)


def set_process_name(name: str) -> Call:
    """Name the calling thread for ps(1) and top(1); the kernel keeps 15 bytes."""
    return _prepare("prctl", syscalls.PR_SET_NAME, name.encode(), 0, 0, 0)


def overwrite_memory(start: int, end: int, content: bytes) -> list[Call]:
    """Fill the calling process's memory from `start` to `end` with `content`, then zeros."""
    return [
        _prepare("memset", start, 0, end - start, least=_ANY_RESULT),
        _prepare("memmove", start, content, min(len(content), end - start), least=_ANY_RESULT),
    ]


def setgroups(groups: Sequence[int], *, tolerated: tuple[int, ...] = ()) -> Call:
    """Set the supplementary groups."""
    return _prepare("setgroups", len(groups), b"".join(map(_IDS.pack, groups)), tolerated=tolerated)


def setresgid(gid: int) -> Call:
    """Become a group for good."""
    return _prepare("setresgid", gid, gid, gid)


def setresuid(uid: int) -> Call:
    """Become a user for good."""
    return _prepare("setresuid", uid, uid, uid)


def join_session_keyring() -> list[Call]:
    """Start with an empty session keyring, see keyrings(7); no call without keyctl(2)."""
    number = syscalls.KEYCTL.get(os.uname().machine)
    if number is None:
        return []
    # A kernel without keyrings, or a filter that forbids them, gives none away either.
    tolerated = (ENOSYS, EPERM)
    arguments = number, syscalls.KEYCTL_JOIN_SESSION_KEYRING, 0
    return [_prepare("syscall", *arguments, tolerated=tolerated)]


def default_action(number: int) -> Call:
    """Give a signal its default action; Python is not told, so only before exec."""
    return _prepare("sigaction", number, bytes(_SIGACTION_SIZE), 0)


def unblock_signals() -> Call:
    """Block no signal."""
    return _prepare("sigprocmask", syscalls.SIG_SETMASK, bytes(_SIGSET_SIZE), 0)


def execve(
    path: str, argv: Iterable[str], env: Mapping[str, str], *, tolerated: tuple[int, ...]
) -> Call:
    """Execute a program; goes on only if that failed."""
    words = tuple(map(os.fsencode, argv))
    variables = tuple(os.fsencode(f"{name}={value}") for name, value in env.items())
    if any(b"\0" in text for text in words + variables):  # where the kernel would see its end
        raise OSError(EINVAL, os.strerror(EINVAL))
    return _prepare("execve", os.fsencode(path), words, variables, tolerated=tolerated)


def _fsconfig(context: Cell, command: int, key: bytes | int, value: bytes | int) -> Call:
    return _prepare("syscall", syscalls.FSCONFIG, context, command, key, value, 0)


def _prepare(
    function: str,
    *arguments: Argument,
    least: int = 0,
    tolerated: Iterable[int] = (),
    to: Cell | None = None,
) -> Call:
    errors = int.from_bytes(bytes(tolerated), "little")
    return _FUNCTIONS[function], arguments, least, errors, to
