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

import os
import resource
import signal
import socket
from collections.abc import Iterable

from .errors import SetupError
from .spec import Rlimit
from .syscalls import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    NO_SIGNALS,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    capset,
    prctl,
    set_default_action,
    sigprocmask,
    unshare,
)
from .user_mapping import IdRange, UserMapping, write_user_mapping

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
_MAX_CAPABILITY = 63  # the width of the kernel's bit mask


def enter_inner_namespaces(sync: socket.socket) -> None:
    """Go into a user namespace below the container's; the init answers with the IDs."""
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS)
    except OSError as error:
        raise SetupError("create namespaces", error.errno or 0) from error
    # The init's change of user made it and its forks undumpable, and that shuts /proc/PID/uid_map.
    prctl(PR_SET_DUMPABLE, 1)
    sync.send(b"unshared")
    if not sync.recv(1):
        raise EOFError


def map_inner_namespaces(sync: socket.socket, pid: int, mapping: UserMapping) -> None:
    """Give the command's user namespace the same IDs as the container's; the init's side."""
    if not sync.recv(16):
        return  # it failed, and says why in its report
    same = UserMapping(
        [IdRange(r.inside, r.inside, r.count) for r in mapping.uids],
        [IdRange(r.inside, r.inside, r.count) for r in mapping.gids],
        deny_setgroups=mapping.deny_setgroups,
    )
    write_user_mapping(pid, same)
    sync.send(b"m")


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
    with open("/proc/self/status", "rb") as file:
        masks = [int(line[7:], 16) for line in file if line.startswith((b"SigIgn:", b"SigCgt:"))]
    changed = masks[0] | masks[1]
    # glibc keeps two real-time signals for itself, and lets nobody set them.
    return tuple(n for n in range(1, signal.NSIG) if changed >> (n - 1) & 1 and n not in {32, 33})


def reset_signals(changed: Iterable[int]) -> None:
    """Give signals their default action, and block none.

    Those that are ignored would stay so in the command; one that is handled, and arrives before
    execve(2), would be swallowed by the handler.
    """
    for number in changed:
        set_default_action(number)
    sigprocmask(signal.SIG_SETMASK, NO_SIGNALS)


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
