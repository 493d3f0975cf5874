"""What the command may do, set between fork and exec: limits, capabilities, signals, descriptors.

In a user namespace of its own the command may be all-powerful, because nothing there is worth
having. It gets a second one, below the container's: its mount namespace is then a copy made for a
less privileged owner, in which the kernel locks every mount, so that root inside can neither
remount a read-only volume for writing nor take a mount off that hides something; and the init, in
the namespace above, can't be traced by anybody in there.

Without a user namespace root inside is root. Then it keeps what docker run(1) leaves to it, less
the right to make device nodes.

Source: user_namespaces(7), mount_namespaces(7) "Restrictions", capabilities(7).
"""

import _signal as signal
import os
import resource
from _collections_abc import Iterable

from .calls import close, open_file, write
from .errors import SetupError
from .memory import Cell
from .process_calls import default_action, unblock_signals
from .spec import Rlimit
from .syscalls import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    capset,
    prctl,
)
from .tape import Call
from .user_mapping import IdRange, UserMapping, render_id_map

_KEPT_CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "NET_RAW": 13,
    "SYS_CHROOT": 18,
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}
COMMAND_PID = 2  # in the container: the first process that its init forks
_MAX_STATUS = 2**14  # bytes of /proc/self/status, which has some 1,500
_signals: dict[int, tuple[int, ...]] = {}  # by the bit mask of them
_MAX_CAPABILITY = 63  # the width of the kernel's bit mask


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
            open_file(f"/proc/{COMMAND_PID}/{name}", os.O_WRONLY, to=file),
            write(file, text.encode()),
            close(file),
        ]
    return made


def drop_capabilities() -> None:
    """Keep the capabilities that are harmless without a user namespace, in all five sets."""
    kept = set(_KEPT_CAPABILITIES.values())
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(_MAX_CAPABILITY + 1):
        if capability in kept:
            continue
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # EINVAL: the kernel knows no more
    capset(sum(1 << capability for capability in kept))


def set_rlimits(rlimits: Iterable[Rlimit]) -> None:
    """Set limits on the calling process.

    Raises:
        SetupError: The kernel refused one.
    """
    for limit in rlimits:
        number = getattr(resource, f"RLIMIT_{limit.name.upper()}")
        try:
            resource.setrlimit(number, (limit.soft, limit.hard))
        except (OSError, ValueError) as error:
            step = f"set ulimit {limit.name} to {limit.soft}:{limit.hard}"
            raise SetupError(step, hint=str(error)) from error


def clamp_rlimits(rlimits: Iterable[Rlimit]) -> tuple[tuple[Rlimit, ...], tuple[str, ...]]:
    """Return limits that the calling process may set, and a sentence for each that was lowered.

    Raising a hard limit needs CAP_SYS_RESOURCE on the host, which no container has.
    """
    clamped, notes = [], []
    for limit in rlimits:
        number = getattr(resource, f"RLIMIT_{limit.name.upper()}")
        most = resource.getrlimit(number)[1]
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
    # Read at once, and not by lines: this is looked at for each container.
    fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    status = os.read(fd, _MAX_STATUS)
    os.close(fd)
    changed = 0
    for name in (b"\nSigIgn:\t", b"\nSigCgt:\t"):
        changed |= int(status.partition(name)[2][:16], 16)
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
