"""Hosts that refuse: made for real in the calling process, which is a fork of the test's.

A private mount namespace can hide or change any file of the host; a user namespace has switches of
its own under /proc/sys/user; a seccomp filter answers as docker's does or as AppArmor would.

Source: seccomp(2), linux/filter.h, linux/seccomp.h, user_namespaces(7).
"""

import ctypes
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from mocker.isolation.syscalls import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    MS_REC,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    mount,
    prctl,
    unshare,
)

MS_BIND = 0x1000
MS_PRIVATE = 0x4_0000
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF_0000
SECCOMP_RET_ERRNO = 0x0005_0000
SECCOMP_RET_KILL_PROCESS = 0x8000_0000
SECCOMP_DATA_NR = 0
SECCOMP_DATA_ARG0 = 16  # its lower half, on a little-endian machine
BPF_LD_W_ABS = 0x20
BPF_JEQ_K = 0x15
BPF_JSET_K = 0x45
BPF_RET_K = 0x06

# Numbers from 424 on are the same on every machine.
NUMBERS = {
    "x86_64": {
        "clone": 56,
        "prctl": 157,
        "keyctl": 250,
        "memfd_create": 319,
        "mount": 165,
        "mprotect": 10,
        "pivot_root": 155,
        "recvmsg": 47,
        "sendto": 44,
        "setgroups": 116,
        "sched_setaffinity": 203,
        "sethostname": 170,
        "setsid": 112,
        "unshare": 272,
    },
    "aarch64": {
        "clone": 220,
        "prctl": 167,
        "keyctl": 219,
        "memfd_create": 279,
        "mount": 40,
        "mprotect": 226,
        "pivot_root": 41,
        "recvmsg": 212,
        "sendto": 206,
        "setgroups": 159,
        "sched_setaffinity": 122,
        "sethostname": 161,
        "setsid": 157,
        "unshare": 97,
    },
}[os.uname().machine] | {
    "clone3": 435,
    "landlock_create_ruleset": 444,
    "landlock_restrict_self": 446,
    "move_mount": 429,
}

SUBORDINATE_BASE = 0x4000_0000
USUAL_PLACES = ("/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin")
APPARMOR_SWITCH = "apparmor_restrict_unprivileged_userns"


class _Instruction(ctypes.Structure):
    """struct sock_filter."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.c_void_p))


class Refusal:
    """A system call that fails, or kills who makes it.

    Always, or where its first argument is a certain number, or it or another one, counted from
    zero, has one of some flags.
    """

    def __init__(
        self,
        name: str,
        errno: int = 0,
        *,
        flags: int = 0,
        argument: int = 0,
        first: int = 0,
        kill: bool = False,
    ) -> None:
        self.number = NUMBERS[name]
        self.condition = (BPF_JSET_K, 0, 1, flags) if flags else (BPF_JEQ_K, 0, 1, first)
        self.is_conditional = bool(flags or first)
        self.offset = SECCOMP_DATA_ARG0 + 8 * argument
        self.answer = SECCOMP_RET_KILL_PROCESS if kill else SECCOMP_RET_ERRNO | errno

    def compile(self) -> list[tuple[int, int, int, int]]:
        """Return instructions that begin and end with the call's number in the accumulator."""
        answer = (BPF_RET_K, 0, 0, self.answer)
        if not self.is_conditional:
            return [(BPF_JEQ_K, 0, 1, self.number), answer]
        return [
            (BPF_JEQ_K, 0, 4, self.number),
            (BPF_LD_W_ABS, 0, 0, self.offset),
            self.condition,
            answer,
            (BPF_LD_W_ABS, 0, 0, SECCOMP_DATA_NR),
        ]


def refuse_system_calls(refusals: Iterable[Refusal]) -> None:
    """Put the calling process, and all that comes of it, under a seccomp filter."""
    lines = [(BPF_LD_W_ABS, 0, 0, SECCOMP_DATA_NR)]
    for refusal in refusals:
        lines += refusal.compile()
    lines.append((BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW))
    instructions = (_Instruction * len(lines))(*(_Instruction(*line) for line in lines))
    program = _Program(len(lines), ctypes.addressof(instructions))
    if os.geteuid() != 0:
        prctl(PR_SET_NO_NEW_PRIVS, 1)  # the kernel's condition for who is not privileged
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))


def refuse_user_namespaces(errno: int, clone3_errno: int) -> None:
    """Answer as docker's default filter, which cannot look into the structure of clone3."""
    refuse_system_calls(
        [
            Refusal("clone", errno, flags=CLONE_NEWUSER),
            Refusal("unshare", errno, flags=CLONE_NEWUSER),
            Refusal("clone3", clone3_errno),
        ]
    )


def enter_user_namespace(*, as_root: bool) -> None:
    """Go into a user namespace that has the caller's own ID alone, and its own mounts.

    Args:
        as_root: Whether that ID is root's in there, or the same as outside.
    """
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{0 if as_root else uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{0 if as_root else gid} {gid} 1")


def enter_private_mounts(*, as_root: bool = False) -> None:
    """Go where mounts are nobody else's; an ordinary user needs a user namespace for that."""
    if os.geteuid() != 0:
        enter_user_namespace(as_root=as_root)
        return
    unshare(CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_PRIVATE)


def bind(source: str | Path, target: str | Path) -> None:
    """Show a file or directory in another's place."""
    mount(str(source), str(target), "", MS_BIND)


def hide_busybox(stand_in: str | Path) -> None:
    """Show something else wherever there is a busybox, to the calling process only."""
    enter_private_mounts()
    directories = {*os.environ.get("PATH", "").split(":"), *USUAL_PLACES}
    found = {shutil.which("busybox", path=directory) for directory in directories}
    for path in {Path(path).resolve() for path in found if path}:
        bind(stand_in, path)


def become_user(
    uid: int, directory: Path, refusals: Sequence[Refusal] = (), *, granted: int = 65536
) -> None:
    """Become a user of this mount namespace alone, with subordinate IDs, under a filter.

    Args:
        uid: The new user's.
        directory: For the files that stand in for those of /etc.
        refusals: What the filter refuses. It does not keep newuidmap(1) from gaining privileges.
        granted: How many subordinate IDs.
    """
    entry = f"user{uid}:x:{uid}:{uid}::/:/bin/sh\n"
    files = {
        "passwd": Path("/etc/passwd").read_text() + entry,
        "subuid": f"{uid}:{SUBORDINATE_BASE}:{granted}\n" if granted else "",
        "subgid": f"{uid}:{SUBORDINATE_BASE}:{granted}\n" if granted else "",
    }
    for name, text in files.items():
        (directory / name).write_text(text)
        bind(directory / name, f"/etc/{name}")
    os.setgroups(())
    if refusals:
        refuse_system_calls(refusals)
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    prctl(PR_SET_DUMPABLE, 1)  # lost with root's ID, and newuidmap(1) looks at who owns /proc/PID
