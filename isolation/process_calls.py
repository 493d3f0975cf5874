"""The system calls by which a process becomes what it is to be, as parts of a `tape`: see `calls`.

Its session, its name, its user, its signals, and what it executes.
"""

import os
from _collections_abc import Iterable, Mapping, Sequence
from _signal import SIGKILL
from errno import EINTR, EINVAL, ENOSYS, EPERM
from struct import Struct

from . import syscalls
from .calls import ANY_RESULT, close, prepare
from .library import find_address
from .machine import find_machine
from .memory import Buffer, Cell
from .tape import Call

Words = tuple[bytes, ...]

_SIGSET_SIZE = 128  # bytes of the C library's sigset_t
_SIGACTION_SIZE = 256  # bytes, and more than its struct sigaction has anywhere
_IDS, _LIMITS = Struct("I"), Struct("2l")
_CAP_HEADER, _CAP_DATA = Struct("Ii"), Struct("6I")
_CAPABILITY_VERSION_3 = 0x2008_0522
INSTRUCTION_SIZE = 8  # bytes of struct sock_filter
_CLONE_VM = 0x100
_WAIT_FOR_ALL = 0x4000_0000  # __WALL: also for one whose end no signal tells
_STACK = Buffer(2**14, shared=True)  # of a process that waits, which touches one page of it


def umask(mask: int) -> Call:
    """Set the permissions that new files do not get."""
    return prepare("umask", mask)


def setsid() -> Call:
    """Leave the caller's session."""
    return prepare("setsid")


def setpgid() -> Call:
    """Lead a process group."""
    return prepare("setpgid", 0, 0)


def clone3(flags: int, exit_signal: int, *, to: Cell) -> Call:
    """Clone the process, like a fork with namespaces; `to` is the pid, or 0 in the child."""
    if not flags and not syscalls.has_clone3():
        number = syscalls.CLONE[find_machine()]
        return prepare("syscall", number, exit_signal, 0, 0, 0, 0, to=to)
    args = syscalls.CloneArgs(flags=flags, exit_signal=exit_signal)
    return prepare("syscall", syscalls.CLONE3, bytes(args), syscalls.sizeof(args), to=to)


def unshare(flags: int) -> Call:
    """Leave the caller's namespaces of these kinds for new ones."""
    return prepare("unshare", flags)


def join_new(namespaces: int) -> list[Call]:
    """Join namespaces that belong to a new user namespace, and stay in one's own.

    Whoever makes that one is in it, and can't get out again; so it is made for a process that
    shares all memory, waits on a stack of its own, and is soon killed. The kernel lets only who is
    dumpable be joined.
    """
    pid, pidfd = Cell(-1), Cell(-1)
    flags = namespaces | syscalls.CLONE_NEWUSER | _CLONE_VM
    return [
        prepare("clone", find_address("pause"), _STACK.address + _STACK.size, flags, 0, to=pid),
        prepare("syscall", syscalls.PIDFD_OPEN, pid, 0, to=pidfd),
        prepare("setns", pidfd, namespaces),
        close(pidfd),
        prepare("kill", pid, SIGKILL),
        prepare("waitpid", pid, 0, _WAIT_FOR_ALL),
    ]


def prctl(option: int, argument: int) -> Call:
    """Set an option of the process that is a number."""
    return prepare("prctl", option, argument, 0, 0, 0)


def set_process_name(name: str) -> Call:
    """Name the calling thread for ps(1) and top(1); the kernel keeps 15 bytes."""
    return prepare("prctl", syscalls.PR_SET_NAME, name.encode(), 0, 0, 0)


def overwrite_memory(start: int, end: int, content: bytes) -> list[Call]:
    """Fill the calling process's memory from `start` to `end` with `content`, then zeros."""
    return [
        prepare("memset", start, 0, end - start, least=ANY_RESULT),
        prepare("memmove", start, content, min(len(content), end - start), least=ANY_RESULT),
    ]


def setgroups(groups: Sequence[int], *, tolerated: tuple[int, ...] = ()) -> Call:
    """Set the supplementary groups."""
    return prepare("setgroups", len(groups), b"".join(map(_IDS.pack, groups)), tolerated=tolerated)


def setresgid(gid: int) -> Call:
    """Become a group for good."""
    return prepare("setresgid", gid, gid, gid)


def setresuid(uid: int) -> Call:
    """Become a user for good."""
    return prepare("setresuid", uid, uid, uid)


def capset(capabilities: int) -> Call:
    """Have these capabilities permitted and effective, as a bit mask; none inheritable or ambient.

    The kernel takes from the ambient ones what is not inheritable.
    """
    low, high = capabilities & 0xFFFF_FFFF, capabilities >> 32
    data = _CAP_DATA.pack(low, low, 0, high, high, 0)
    return prepare("capset", _CAP_HEADER.pack(_CAPABILITY_VERSION_3, 0), data)


def setrlimit(number: int, soft: int, hard: int) -> Call:
    """Limit a resource; -1 is unlimited, as the kernel has it with all bits set."""
    return prepare("setrlimit", number, _LIMITS.pack(soft, hard))


def join_session_keyring() -> list[Call]:
    """Start with an empty session keyring, see keyrings(7); no call without keyctl(2)."""
    number = syscalls.KEYCTL.get(find_machine())
    if number is None:
        return []
    # A kernel without keyrings, or a filter that forbids them, gives none away either.
    tolerated = (ENOSYS, EPERM)
    arguments = number, syscalls.KEYCTL_JOIN_SESSION_KEYRING, 0
    return [prepare("syscall", *arguments, tolerated=tolerated)]


def default_action(number: int) -> Call:
    """Give a signal its default action; Python is not told, so only before exec."""
    return prepare("sigaction", number, bytes(_SIGACTION_SIZE), 0)


def wait_for_signal(info: Buffer) -> Call:
    """Wait for any signal; the buffer is for its siginfo_t, and as it was if something came up."""
    every = b"\xff" * _SIGSET_SIZE
    return prepare("sigwaitinfo", every, info, tolerated=(EINTR,))


def unblock_signals() -> Call:
    """Block no signal."""
    return prepare("sigprocmask", syscalls.SIG_SETMASK, bytes(_SIGSET_SIZE), 0)


def load_filter(program: bytes) -> list[Call]:
    """Let a program of BPF decide about each system call from now on, execve(2) too: seccomp(2).

    The kernel wants no_new_privs first, or CAP_SYS_ADMIN. No program, no calls.
    """
    if not program:
        return []
    described = len(program) // INSTRUCTION_SIZE, program  # struct sock_fprog
    return [
        prepare("prctl", syscalls.PR_SET_SECCOMP, syscalls.SECCOMP_MODE_FILTER, described, 0, 0)
    ]


def encode_words(argv: Iterable[str], env: Mapping[str, str]) -> tuple[Words, Words]:
    """Return the arguments and the environment of a program as `execve` takes them."""
    words = tuple(map(os.fsencode, argv))
    variables = tuple(os.fsencode(f"{name}={value}") for name, value in env.items())
    if any(b"\0" in text for text in words + variables):  # where the kernel would see its end
        raise OSError(EINVAL, os.strerror(EINVAL))
    return words, variables


def execve(path: str, words: Words, variables: Words, *, tolerated: tuple[int, ...]) -> Call:
    """Execute a program; goes on only if that failed."""
    return prepare("execve", os.fsencode(path), words, variables, tolerated=tolerated)
