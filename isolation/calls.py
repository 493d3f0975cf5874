"""System calls that are prepared before the clone, and made one after another after it.

A fork shares its parent's memory, page by page, until one of the two writes to it, and Python
writes wherever it runs: reference counts, caches in the bytecode, the heap. Each such page costs a
fault of some microseconds, and 4 KiB for as long as the container lives. So whatever is known
before the clone is laid down as a list of calls while that is cheap, and the child walks the list
in one loop.

What a call returns and a later one needs, such as a descriptor, goes by a `Cell`. The child writes
to its own copy of it, so a list serves any number of containers.

A function that describes one system call has its name; `perform` makes them.
"""

import os
from _collections_abc import Callable, Iterable, Mapping, Sequence
from errno import EAGAIN, EIO, ENOSYS, EPERM

from . import syscalls
from .syscalls import Buffer, Cell, get_errno, libc, make_buffer

# What is called, with what, the least that it returns if all is well, the errors that are as good,
# and where the result goes.
Call = tuple[Callable[..., int], tuple[object, ...], int, tuple[int, ...], Cell | None]

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


def perform(calls: Iterable[Call]) -> None:
    """Make calls in their order.

    Raises:
        OSError: One failed; those after it were not made.
    """
    for function, arguments, least, tolerated, result in calls:
        value = function(*arguments)
        if value < least:
            if value >= 0:
                value = function(*arguments)  # a write that was cut short: the next one says why
            errno = get_errno() if value < 0 else EIO
            if errno not in tolerated:
                raise OSError(errno, os.strerror(errno))
        if result is not None:
            result.value = value


def then(function: Callable[..., None], *arguments: object) -> Call:
    """Call a function of Python's between system calls; what it raises ends them."""
    return _prepare(_call, function, *arguments)


def openat(dir_fd: Cell, path: str, flags: int, mode: int = 0, *, to: Cell) -> Call:
    """Open a path below a directory, close-on-exec."""
    return _prepare(libc.openat, dir_fd, os.fsencode(path), flags | os.O_CLOEXEC, mode, to=to)


def open_file(path: str, flags: int, *, to: Cell) -> Call:
    """Open an absolute path, close-on-exec."""
    return _prepare(libc.openat, syscalls.AT_FDCWD, os.fsencode(path), flags | os.O_CLOEXEC, to=to)


def open_in_root(root: Cell, path: str, flags: int, *, to: Cell) -> Call:
    """Open a path with openat2(2), as a process would whose root is `root`; close-on-exec."""
    how = syscalls.OpenHow(flags=flags | os.O_CLOEXEC, resolve=_RESOLVE)
    return _prepare(
        libc.syscall,
        syscalls.OPENAT2,
        root,
        os.fsencode(path),
        syscalls.byref(how),
        syscalls.sizeof(how),
        to=to,
    )


def close(fd: Cell | int) -> Call:
    """Close a descriptor."""
    return _prepare(libc.close, fd)


def fchdir(fd: Cell) -> Call:
    """Go to a directory."""
    return _prepare(libc.fchdir, fd)


def chdir(path: str) -> Call:
    """Go to a directory."""
    return _prepare(libc.chdir, os.fsencode(path))


def mkdirat(dir_fd: Cell, name: str, mode: int) -> Call:
    """Make a directory."""
    return _prepare(libc.mkdirat, dir_fd, os.fsencode(name), mode)


def symlinkat(target: str, dir_fd: Cell, name: str) -> Call:
    """Make a symbolic link."""
    return _prepare(libc.symlinkat, os.fsencode(target), dir_fd, os.fsencode(name))


def linkat(dir_fd: Cell, name: str, others: Iterable[str]) -> Call:
    """Give an entry of a directory, be it a symbolic link, more names in the same directory.

    One entry for all of them: a list of so many calls would take the memory of a container.
    """
    names = os.fsencode(name), tuple(map(os.fsencode, others))
    return _prepare(_link_each, libc.linkat, dir_fd, *names)


def write(fd: Cell, content: bytes) -> Call:
    """Write all of `content`."""
    return _prepare(libc.write, fd, content, len(content), least=len(content))


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> Call:
    """Mount a file system."""
    texts = os.fsencode(source), os.fsencode(target), fstype.encode()
    return _prepare(libc.mount, *texts, flags, os.fsencode(data))


def check_same(path: str, fd: Cell) -> list[Call]:
    """Fail, whatever errno says, if a path and a descriptor are not the same inode: statx(2)."""
    found, wanted = make_buffer(syscalls.STATX_SIZE), make_buffer(syscalls.STATX_SIZE)
    size = syscalls.STATX_SIZE
    return [
        _prepare(libc.statx, syscalls.AT_FDCWD, os.fsencode(path), 0, syscalls.STATX_INO, found),
        _prepare(libc.statx, fd, b"", syscalls.AT_EMPTY_PATH, syscalls.STATX_INO, wanted),
        # Below 0 if the first is the lesser; so one of the two is below 0 if they differ.
        _prepare(libc.memcmp, found, wanted, size),
        _prepare(libc.memcmp, wanted, found, size),
    ]


def umount2(target: str, flags: int) -> Call:
    """Unmount a file system."""
    return _prepare(libc.umount2, os.fsencode(target), flags)


def pivot_root(new_root: str, put_old: str) -> Call:
    """Make a mount the root."""
    return _prepare(libc.pivot_root, os.fsencode(new_root), os.fsencode(put_old))


def open_tree(path: str, *, to: Cell) -> Call:
    """Clone the mount at a path of the host into a tree that is attached nowhere."""
    arguments = syscalls.OPEN_TREE, syscalls.AT_FDCWD, os.fsencode(path), _TREE_FLAGS
    return _prepare(libc.syscall, *arguments, to=to)


def mount_setattr(tree: Cell, attributes: int) -> Call:
    """Set attributes of one mount."""
    attr = syscalls.MountAttr(attr_set=attributes)
    arguments = (
        syscalls.MOUNT_SETATTR,
        tree,
        b"",
        syscalls.AT_EMPTY_PATH,
        syscalls.byref(attr),
        syscalls.sizeof(attr),
    )
    return _prepare(libc.syscall, *arguments)


def move_mount(tree: Cell, target: Cell) -> Call:
    """Attach a tree to what a descriptor refers to."""
    return _prepare(libc.syscall, syscalls.MOVE_MOUNT, tree, b"", target, b"", _MOVE_FLAGS)


def new_mount(fstype: str, options: Iterable[tuple[str, str]], *, to: Cell) -> list[Call]:
    """Make a file system that is mounted nowhere yet: fsopen(2), fsconfig(2), fsmount(2)."""
    context = Cell(-1)
    return [
        _prepare(
            libc.syscall, syscalls.FSOPEN, fstype.encode(), syscalls.FSOPEN_CLOEXEC, to=context
        ),
        *(
            _fsconfig(context, syscalls.FSCONFIG_SET_STRING, key.encode(), value.encode())
            for key, value in options
        ),
        _fsconfig(context, syscalls.FSCONFIG_CMD_CREATE, None, None),
        _prepare(libc.syscall, syscalls.FSMOUNT, context, syscalls.FSMOUNT_CLOEXEC, 0, to=to),
        close(context),
    ]


def sethostname(name: str) -> Call:
    """Name the host."""
    encoded = os.fsencode(name)
    return _prepare(libc.sethostname, encoded, len(encoded))


def socket(family: int, kind: int, *, to: Cell) -> Call:
    """Open a socket, close-on-exec."""
    return _prepare(libc.socket, int(family), int(kind) | _SOCK_CLOEXEC, 0, to=to)


def ioctl(fd: Cell, request: int, argument: bytes) -> Call:
    """Make a request of a device."""
    return _prepare(libc.ioctl, fd, request, argument)


def send(fd: int, message: bytes) -> Call:
    """Send a message without waiting, and without SIGPIPE."""
    return _prepare(libc.send, fd, message, len(message), _MSG_NOSIGNAL | _MSG_DONTWAIT)


def request_sigio(fd: int) -> list[Call]:
    """Let the kernel send SIGIO to the process when something arrives at a socket: fcntl(2)."""
    pid = Cell(-1)
    return [
        _prepare(libc.getpid, to=pid),
        _prepare(libc.fcntl, fd, _F_SETOWN, pid),
        _prepare(libc.fcntl, fd, _F_SETFL, os.O_ASYNC | os.O_RDWR),
    ]


def peek(fd: int, *, to: Cell) -> Call:
    """Look for a message without waiting; `to` is 1, 0 if the other end is gone, else -1."""
    flags = _MSG_PEEK | _MSG_DONTWAIT
    return _prepare(libc.recv, fd, make_buffer(1), 1, flags, tolerated=(EAGAIN,), to=to)


def recv(fd: int, buffer: Buffer, *, to: Cell) -> Call:
    """Wait for a message; `to` is its length, 0 once the other end is gone."""
    return _prepare(libc.recv, fd, buffer, len(buffer), 0, to=to)


def check_message(buffer: Buffer, expected: bytes) -> list[Call]:
    """Fail, whatever errno says, if a buffer does not begin with these bytes."""
    size = len(expected)
    return [
        _prepare(libc.memcmp, buffer, expected, size),
        _prepare(libc.memcmp, expected, buffer, size),
    ]


def eventfd(*, to: Cell) -> Call:
    """Make a descriptor from which eight bytes can be read once they were written to it."""
    return _prepare(libc.eventfd, 0, os.EFD_CLOEXEC, to=to)


def read(fd: Cell, buffer: Buffer) -> Call:
    """Wait for as many bytes as the buffer has."""
    return _prepare(libc.read, fd, buffer, len(buffer), least=len(buffer))


def dup_above(fd: int, least: int, *, to: Cell) -> Call:
    """Duplicate a descriptor to a number from `least` on, close-on-exec."""
    return _prepare(libc.fcntl, fd, _F_DUPFD_CLOEXEC, least, to=to)


def dup2(fd: Cell, number: int) -> Call:
    """Duplicate a descriptor to a number."""
    return _prepare(libc.dup2, fd, number)


def close_range(first: int, last: int = -1, flags: int = 0) -> Call:
    """Close descriptors up to one, or up to the last (-1), or do with them what the flags say."""
    return _prepare(libc.syscall, syscalls.CLOSE_RANGE, first, last, flags)


def umask(mask: int) -> Call:
    """Set the permissions that new files do not get."""
    return _prepare(libc.umask, mask)


def setsid() -> Call:
    """Leave the caller's session."""
    return _prepare(libc.setsid)


def setpgid() -> Call:
    """Lead a process group."""
    return _prepare(libc.setpgid, 0, 0)


def clone3(flags: int, exit_signal: int, *, to: Cell) -> Call:
    """Clone the process, like a fork with namespaces; `to` is the pid, or 0 in the child."""
    if not flags and not syscalls.has_clone3():
        return _prepare(
            libc.syscall, syscalls.CLONE[os.uname().machine], exit_signal, 0, 0, 0, 0, to=to
        )
    args = syscalls.CloneArgs(flags=flags, exit_signal=exit_signal)
    return _prepare(
        libc.syscall, syscalls.CLONE3, syscalls.byref(args), syscalls.sizeof(args), to=to
    )


def prctl(option: int, argument: int) -> Call:
    """Set an option of the process that is a number."""
    return _prepare(libc.prctl, option, argument, 0, 0, 0)


def set_process_name(name: str) -> Call:
    """Name the calling thread for ps(1) and top(1); the kernel keeps 15 bytes."""
    return _prepare(syscalls.prctl_text, syscalls.PR_SET_NAME, name.encode(), 0, 0, 0)


def overwrite_memory(start: int, end: int, content: bytes) -> list[Call]:
    """Fill the calling process's memory from `start` to `end` with `content`, then zeros."""
    return [
        _prepare(syscalls.memset, start, 0, end - start),
        _prepare(syscalls.memmove, start, content, min(len(content), end - start)),
    ]


def setgroups(groups: Sequence[int], *, tolerated: tuple[int, ...] = ()) -> Call:
    """Set the supplementary groups."""
    return _prepare(libc.setgroups, len(groups), syscalls.make_ids(groups), tolerated=tolerated)


def setresgid(gid: int) -> Call:
    """Become a group for good."""
    return _prepare(libc.setresgid, *syscalls.make_ids([gid] * 3))


def setresuid(uid: int) -> Call:
    """Become a user for good."""
    return _prepare(libc.setresuid, *syscalls.make_ids([uid] * 3))


def join_session_keyring() -> list[Call]:
    """Start with an empty session keyring, see keyrings(7); no call without keyctl(2)."""
    number = syscalls.KEYCTL.get(os.uname().machine)
    if number is None:
        return []
    # A kernel without keyrings, or a filter that forbids them, gives none away either.
    tolerated = (ENOSYS, EPERM)
    arguments = number, syscalls.KEYCTL_JOIN_SESSION_KEYRING, None
    return [_prepare(libc.syscall, *arguments, tolerated=tolerated)]


def default_action(number: int) -> Call:
    """Give a signal its default action; Python is not told, so only before exec."""
    return _prepare(syscalls.set_default_action, number)


def unblock_signals() -> Call:
    """Block no signal."""
    return _prepare(libc.sigprocmask, syscalls.SIG_SETMASK, syscalls.make_signal_set(0), None)


def execve(
    path: str, argv: Iterable[str], env: Mapping[str, str], *, tolerated: tuple[int, ...]
) -> Call:
    """Execute a program; goes on only if that failed."""
    words = syscalls.make_strings([os.fsencode(word) for word in argv])
    variables = syscalls.make_strings(
        [os.fsencode(f"{name}={value}") for name, value in env.items()]
    )
    return _prepare(libc.execve, os.fsencode(path), words, variables, tolerated=tolerated)


def _link_each(
    linkat: Callable[..., int], dir_fd: Cell, name: bytes, others: tuple[bytes, ...]
) -> int:
    number = dir_fd.value
    for other in others:
        if linkat(number, name, number, other, 0) < 0:
            return -1
    return 0


def _fsconfig(context: Cell, command: int, key: bytes | None, value: bytes | None) -> Call:
    return _prepare(libc.syscall, syscalls.FSCONFIG, context, command, key, value, 0)


def _prepare(
    function: Callable[..., int],
    *arguments: object,
    least: int = 0,
    tolerated: tuple[int, ...] = (),
    to: Cell | None = None,
) -> Call:
    return function, arguments, least, tolerated, to


def _call(function: Callable[..., None], *arguments: object) -> int:
    function(*arguments)
    return 0
