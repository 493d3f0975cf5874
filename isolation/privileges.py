"""What the command may do, set between fork and exec: limits, capabilities, signals, descriptors.

In a user namespace of its own, root inside has docker's default capabilities, and what they are
good for ends at that namespace. The command gets a second one, below the container's: its mount
namespace is then a copy made for a less privileged owner, in which the kernel locks every mount, so
that root inside can neither remount a read-only volume for writing nor take a mount off that hides
something, whatever it is given; and the init, in the namespace above, can't be traced by anybody.

Its host name belongs to one user namespace more, which is nobody's: the kernel lets who has made
such a one do there what they like, so root inside names its host without CAP_SYS_ADMIN.

Without a user namespace root inside is the host's, and has no capability that it was not given by
name.

Source: user_namespaces(7), mount_namespaces(7) "Restrictions", capabilities(7).
"""

import _signal as signal
import os
import resource
from _collections_abc import Iterable

from .calls import close, open_file, write
from .capabilities import ALL, NUMBERS, find_last_capability, mask_of, names_of
from .errors import SetupError
from .memory import Cell
from .process_calls import capset, default_action, join_new, prctl, setrlimit, unblock_signals
from .spec import ContainerSpec, Rlimit
from .syscalls import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    PR_CAPBSET_DROP,
    PR_SET_NO_NEW_PRIVS,
)
from .tape import Call
from .user_mapping import IdRange, UserMapping, render_id_map

COMMAND_PID = 2  # in the container: the first process that its init forks
# Without waiting: who may change a root directory might put FIFOs in the place of /proc.
_WRITE = os.O_WRONLY | os.O_NONBLOCK
_MAX_STATUS = 2**14  # bytes of /proc/self/status, which has some 1,500
_signals: dict[int, tuple[int, ...]] = {}  # by the bit mask of them
# What is good for nothing there but to get at the init, which has all that root has.
_OF_THE_INIT = {
    "PERFMON": "read where its init has what in memory",
    "SYS_PTRACE": "trace its init, which has all of root's",
}
# A limit of 0 forbids files alone. With 1 the kernel doesn't start a program for core dumps either:
# so it keeps one that crashes itself from being started for that (fs/coredump.c).
_NO_CORE = Rlimit("core", 1)


def inner_namespace_flags(mapping: UserMapping | None) -> int:
    """Return the namespaces of the command's own, as clone flags."""
    return 0 if mapping is None else CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS


def map_inner_namespace(mapping: UserMapping) -> list[Call]:
    """Return the init's calls that give the command's user namespace the container's IDs."""
    files = [("uid_map", mapping.uids), ("gid_map", mapping.gids)]
    texts = [
        (name, render_id_map(IdRange(r.inside, r.inside, r.count) for r in ranges))
        for name, ranges in files
    ]
    if mapping.deny_setgroups:
        texts.insert(0, ("setgroups", "deny"))
    made, file = list[Call](), Cell(-1)
    for name, text in texts:
        made += [
            open_file(f"/proc/{COMMAND_PID}/{name}", _WRITE, to=file),
            write(file, text.encode()),
            close(file),
        ]
    return made


def own_host_name() -> list[Call]:
    """Return root's calls that leave it the say over its host name, whatever else it gives up."""
    return join_new(CLONE_NEWUTS)


def plan_capabilities(spec: ContainerSpec) -> int | None:
    """Return what root inside is to have, as a bit mask; None where there is no container.

    Raises:
        SetupError: The kernel does not know one that was asked for by name, or it is not the
            caller's to give; or the caller can't take the others away.
    """
    if not spec.isolate:
        return None
    wanted = mask_of(spec.capabilities)
    if spec.userns == "private" and not spec.cap_add:
        return wanted  # which are older than any kernel that is promised
    if spec.userns == "host" and ALL not in spec.cap_add:
        for name, deed in _OF_THE_INIT.items():
            if name in spec.cap_add:
                hint = f"it could then {deed}; add ALL if that is meant"
                raise SetupError(f"give the container the capability {name}", hint=hint)
    known = (2 << find_last_capability()) - 1
    had = known if spec.userns == "private" else read_capabilities() & known
    if not had >> NUMBERS["SETPCAP"] & 1:
        hint = "the caller lacks CAP_SETPCAP"
        raise SetupError("take capabilities from the container", hint=hint)
    missing = wanted & ~had
    if missing and ALL not in spec.cap_add:
        unknown = names_of(missing & ~known)
        hint = "the kernel does not know it" if unknown else "the caller itself does not have it"
        name = (unknown or names_of(missing))[0]
        raise SetupError(f"give the container the capability {name}", hint=hint)
    return wanted & had


def bound_capabilities(mask: int) -> list[Call]:
    """Return the calls after which no capability but these can be had by execve(2)."""
    numbers = range(find_last_capability() + 1)
    return [prctl(PR_CAPBSET_DROP, number) for number in numbers if not mask >> number & 1]


def keep_capabilities(mask: int) -> list[Call]:
    """Return the calls after which a process has no capability but these."""
    return [capset(mask)]


def forbid_new_privileges() -> list[Call]:
    """Return the calls after which execve(2) grants nothing: no setuid, no file capabilities."""
    return [prctl(PR_SET_NO_NEW_PRIVS, 1)]


def read_capabilities() -> int:
    """Return which capabilities the calling process can hand on, as a bit mask."""
    status = _read_own_status()
    permitted, bounding = (_find_mask(status, name) for name in (b"CapPrm", b"CapBnd"))
    return permitted & bounding


def set_rlimits(limits: Iterable[tuple[str, int, int]]) -> list[Call]:
    """Return the calls that set limits, which are (name, soft, hard), -1 for unlimited."""
    return [setrlimit(_number_of(name), soft, hard) for name, soft, hard in limits]


def plan_rlimits(spec: ContainerSpec) -> tuple[tuple[Rlimit, ...], tuple[str, ...]]:
    """Return the limits of the command, as `clamp_rlimits` does.

    In a container that is not asked for core dumps there are none: one would have the name, and
    lie in the place, that the host says for all processes, or go to a program of the host's.
    """
    limits, notes = clamp_rlimits(spec.rlimits)
    if spec.isolate and not any(r.name == "core" and r.hard != 0 for r in limits):
        most = resource.getrlimit(resource.RLIMIT_CORE)[1]
        others = (r for r in limits if r.name != "core")
        limits = (*others, Rlimit("core", 0) if most == 0 else _NO_CORE)
    return limits, notes


def clamp_rlimits(rlimits: Iterable[Rlimit]) -> tuple[tuple[Rlimit, ...], tuple[str, ...]]:
    """Return limits that the calling process may set, and a sentence for each that was lowered.

    Raising a hard limit needs CAP_SYS_RESOURCE on the host, which no container has.
    """
    clamped, notes = [], []
    for limit in rlimits:
        most = resource.getrlimit(_number_of(limit.name))[1]
        if most == -1 or 0 <= limit.hard <= most:
            clamped.append(limit)
            continue
        soft = most if limit.soft == -1 else min(limit.soft, most)
        clamped.append(Rlimit(limit.name, soft, most))
        notes.append(
            f"ulimit {limit.name} is {soft}:{most}, not {limit.soft}:{limit.hard}: "
            "the hard limit of the caller can't be raised"
        )
    return tuple(clamped), tuple(notes)


def find_changed_signals() -> tuple[int, ...]:
    """Return the signals that the calling process ignores or handles, and its forks with it."""
    status = _read_own_status()
    changed = _find_mask(status, b"SigIgn") | _find_mask(status, b"SigCgt")
    if changed not in _signals:
        # glibc keeps two real-time signals for itself, and lets nobody set them.
        numbers = (n for n in range(1, signal.NSIG) if n not in {32, 33})
        _signals[changed] = tuple(n for n in numbers if changed >> (n - 1) & 1)
    return _signals[changed]


def reset_signals(changed: Iterable[int]) -> list[Call]:
    """Return the calls that give signals their default action, and block none.

    Those that are ignored would stay so in the command; one that is handled, and arrives before
    execve(2), would be swallowed by the handler.
    """
    return [*map(default_action, changed), unblock_signals()]


def own_pipes(fds: Iterable[int], uid: int, gid: int) -> None:
    """Make anonymous pipes a user's, so that /dev/stdout can be opened by who writes to it.

    The group's too: root of a user namespace has a say only where it has both IDs. Files and
    terminals keep their owners: they have names, and others rely on those.
    """
    for fd in fds:
        if os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):
            try:
                os.fchown(fd, uid, gid)
            except OSError:
                continue  # the pipe of someone else, who may reopen it where we may not; or no ID


def _number_of(rlimit: str) -> int:
    number: int = getattr(resource, f"RLIMIT_{rlimit.upper()}")
    return number


def _read_own_status() -> bytes:
    # Read at once, and not by lines: this is looked at for each container.
    fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    status = os.read(fd, _MAX_STATUS)
    os.close(fd)
    return status


def _find_mask(status: bytes, name: bytes) -> int:
    return int(status.partition(b"\n%s:\t" % name)[2][:16], 16)
