"""What this host has of the walls that a container gets besides its namespaces: for `host`.

Each function tells what was found, or raises SetupError with what is missing and what to do.

Source: cgroups(7), landlock(7), prctl(2) PR_SET_NO_NEW_PRIVS, keyctl(2), core(5), mount_setattr(2),
getrlimit(2), setpriority(2), proc_pid_oom_score_adj(5).
"""

import _signal as signal
import os
import resource
from _collections_abc import Sequence
from errno import EINVAL

from .capabilities import DEFAULT_SET, find_last_capability, names_of
from .cgroups import HOW_HEEDED, find_weights
from .delegation import USUAL, find_controllers
from .errors import SetupError
from .hints import filters_system_calls, read_switch
from .landlock import find_landlock
from .library import get_errno, get_function
from .machine import find_machine
from .mounts import TreeSource, open_source
from .own_program import OWN, find_own_program
from .privileges import forbid_new_privileges, read_capabilities
from .process_calls import load_filter
from .scheduling import render_cpus, try_schedule
from .seccomp import DEFAULT
from .seccomp.filters import find_filter
from .spec import RLIMIT_NAMES, ContainerSpec
from .syscalls import KEYCTL, PR_GET_NO_NEW_PRIVS, clone3, prctl
from .tape import Call, perform
from .user_mapping import UserMapping

_CORE_PATTERN = "/proc/sys/kernel/core_pattern"
_UNLIMITED = -1
_KEYCTL_GET_KEYRING_ID = 0
_SESSION = -3  # the session keyring

# What a shell in a container looks at, and what its exit code says if that is not as it should be.
LOOK = """
if (: </dev/tty) 2>/dev/null; then exit 11; fi
if (: </proc/1/environ) 2>/dev/null; then exit 12; fi
for path in /dev/*; do
    if [ -L "$path" ] || ! [ -c "$path" ] && ! [ -b "$path" ]; then continue; fi
    case $path in
        /dev/null | /dev/zero | /dev/full | /dev/random | /dev/urandom | /dev/tty) ;;
        *) exit 13 ;;
    esac
done
while read -r _ _ _ _ target flags _; do
    case $target,$flags in
        *,*nosuid*) ;;
        /proc,* | /proc/* | /sys,* | /sys/* | /dev,* | /dev/*) exit 14 ;;
    esac
done </proc/self/mountinfo
"""
FAULTS = {
    11: "it has the caller's terminal",
    12: "it can read its init",
    13: "it sees a device of the host's in /dev",
    14: "setuid programs gain rights on a mount of /proc, /sys or /dev",
}
LOOKED_AT = "the kernel's mounts nosuid, the devices harmless, init and terminal out of reach"


def check_landlock() -> str:
    """Tell of the version of landlock."""
    return f"version {find_landlock()}"


def check_no_new_privs() -> str:
    """Tell whether nothing gains privileges here already."""
    if prctl(PR_GET_NO_NEW_PRIVS):
        return "in force already; newuidmap gains nothing then"
    return "available"


def check_capabilities() -> str:
    """Tell of the capabilities that the caller, who is root, can hand on or use itself."""
    known = (2 << find_last_capability()) - 1
    missing = names_of(known & ~read_capabilities())
    if missing:
        hint = "the caller does not have them; where that is a container, start it privileged"
        raise SetupError(f"use {', '.join(missing)}", hint=hint)
    return "all are the caller's"


def check_seccomp() -> str:
    """Load the default filter, in a child that ends at once."""
    program = find_filter(DEFAULT, DEFAULT_SET)
    _try([*forbid_new_privileges(), *load_filter(program)], "filter system calls")
    already = "; another one is in force" if filters_system_calls() else ""
    return f"the default filter can be loaded{already}"


def _try(calls: Sequence[Call], step: str) -> None:
    """Make calls in a child, or raise SetupError."""
    pid, pidfd = clone3(0, signal.SIGCHLD)
    if pid == 0:
        code = 255
        try:
            perform(calls)
            code = 0
        except OSError as error:
            code = error.errno or code
        finally:
            os._exit(code)
    os.close(pidfd)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise SetupError(step, code)


def check_keyring() -> str:
    """Ask for the session keyring, without making one."""
    number = KEYCTL.get(find_machine())
    step = "have a session keyring"
    if number is None:
        raise SetupError(step, hint=f"mocker knows no keyctl(2) of {find_machine()}")
    if get_function("syscall")(number, _KEYCTL_GET_KEYRING_ID, _SESSION, 0, 0, 0) < 0:
        filtered = "a seccomp filter forbids it"
        hint = filtered if filters_system_calls() else "the kernel is built without keys"
        raise SetupError(step, get_errno(), hint=hint)
    return "available"


def check_limits() -> str:
    """Tell where cgroups with limits can be made, and what can be limited there."""
    place, controllers = find_controllers()
    missing = [name for name in USUAL if name not in controllers]
    if missing:
        hint = "what is above has to delegate it: Delegate=yes of its unit, or of user@.service"
        raise SetupError(f"limit {', '.join(missing)} in ", 0, place, hint)
    refused = "io" in controllers and not find_weights()
    weights = f"; io_weight is refused: {HOW_HEEDED}" if refused else ""
    return f"{', '.join(sorted(controllers))}, and mocker pause, in {place}{weights}"


def check_ulimits() -> str:
    """Tell of the caller's hard limits, which no --ulimit raises."""
    told = list[str]()
    for name in RLIMIT_NAMES:
        hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        if hard != _UNLIMITED and name != "ofile":  # which is nofile again
            told.append(f"{name} {hard}")
    return f"up to the caller's hard limits: {', '.join(told)}" if told else "can be any"


def check_schedule(spec: ContainerSpec) -> str:
    """Try, in a child that ends at once, what a container asks for that is to go before others."""
    try_schedule(spec)
    return "can be any"


def check_affinity() -> str:
    """Try, in a child that ends at once, to run on one of the caller's CPUs alone."""
    cpus = sorted(os.sched_getaffinity(0))
    try_schedule(ContainerSpec(["true"], cpu_affinity=cpus[:1]))
    return f"any of the caller's CPUs: {render_cpus(cpus)}"


def check_core_dumps() -> str:
    """Tell what becomes of what crashes, in a container as well."""
    program = find_core_program()
    if program:
        return f"are piped to {program} on the host; of containers none unless by --ulimit core"
    pattern = read_switch(_CORE_PATTERN)
    return f"are files called {pattern!r}; of containers none unless by --ulimit core"


def find_core_program() -> str:
    """Return the program of the host's that core dumps are piped to; nothing if they are files."""
    pattern = read_switch(_CORE_PATTERN)
    words = pattern[1:].split() if pattern.startswith("|") else []
    return words[0] if words else ""


def check_own_program(mapping: UserMapping) -> str:
    """Tell whether somebody inside owns the program that runs mocker, see `own_program`.

    Args:
        mapping: The users inside.
    """
    path = os.readlink(OWN)
    if find_own_program(mapping):
        hint = "it is a user of the container; run mocker by a Python that root owns"
        raise SetupError("rely on the owner of ", 0, path, hint)
    return f"{path} belongs to nobody inside"


def check_mapped_mounts(userns: int) -> str:
    """Clone the mount of / with the owners of a user namespace; it is attached nowhere.

    Args:
        userns: A descriptor of it.
    """
    try:
        os.close(open_source(TreeSource("/", recursive=False, attributes=0), userns))
    except OSError as error:
        hint = "the file system of / has none" if error.errno == EINVAL else ""
        raise SetupError("map owners in ", error.errno or 0, "/", hint) from error
    return "can be made of /"
