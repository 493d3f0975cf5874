"""A filter of somebody's own, written in docker's format.

Which of its entries count depends on the capabilities of the container, on the kernel and on the
machine; what they say is by name, for any table of system calls. What docker's runtime makes of a
profile, this does too, and is stricter in three things: where several entries are about the same
call, the strictest decides; x86-64's calls for programs with short pointers are denied whatever it
says; and what it can't carry out it refuses, where docker passes over it.

A profile that denies what it does not name is as old as the newest call that it names, and what
came later is absent: a C library that gets another answer than ENOSYS for a new call does not try
the old one. Else nothing could make a thread under a profile from before clone3(2).

Source: moby/profiles seccomp/seccomp_linux.go; runc, libcontainer/seccomp, and patchbpf there;
socketcall(2), ipc(2).
"""

import os
import re
from _collections_abc import Iterable, Set
from errno import ENOSYS

from ..errors import SpecError
from .bpf import ALLOW, EQ, ERRNO, KIND, LOG, TRACE, Rule, decide, rank
from .docker_format import Entry, Profile, parse_profile
from .ranges import Policy, compile_policies, find_tables
from .tables import NEWEST, TABLES, read_table

# What docker calls each table: in includes and excludes, and as an architecture.
_MACHINES = {"x86_64": "amd64", "i386": "x86", "aarch64": "arm64", "arm": "arm"}
_ARCHITECTURES = {
    "x86_64": "SCMP_ARCH_X86_64",
    "i386": "SCMP_ARCH_X86",
    "aarch64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
}
_LETS_THROUGH = {ALLOW, LOG, TRACE}
_ABSENT = ERRNO | ENOSYS
# i386 has calls that are several, by a number in front of the arguments. Which bits of it count,
# and the names from number 1 on.
_MULTIPLEXED = {
    "socketcall": (
        0xFFFF_FFFF,
        "socket bind connect listen accept getsockname getpeername socketpair send recv sendto "
        "recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg",
    ),
    "ipc": (
        0xFFFF,
        "semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl - - - - - - "
        "shmat shmdt shmget shmctl",
    ),
}
_MOST_KEPT = 20
_profiles = dict[str, Profile]()  # by their text


def check_profile(text: str, name: str = "seccomp profile") -> None:
    """Refuse what is no profile, or can't be carried out.

    Args:
        text: A JSON document.
        name: What it is called in the error.

    Raises:
        SpecError: With a sentence about it.
    """
    try:
        _check_names(_read(text))
    except ValueError as error:
        raise SpecError(f"{name}: {error}") from None


def compile_profile(text: str, capabilities: Set[str]) -> bytes:
    """Return the program of BPF for a profile.

    Args:
        text: A JSON document, which has been checked.
        capabilities: Those that the container may have, such as "SYS_ADMIN".

    Raises:
        ValueError: The program is longer than the kernel takes.
        SetupError: The machine's system calls are not known.
    """
    profile, tables = _read(text), find_tables()
    native, kernel = tables[0][0], _find_kernel()
    entries = [
        entry for entry in profile.entries if entry.counts(_MACHINES[native], capabilities, kernel)
    ]
    wanted = {*profile.architectures.get(_ARCHITECTURES[native], profile.architectures.get("", ()))}
    policies = {
        table: plan_profile(table, profile.default, entries)
        for table, _ in tables
        if table == native or _ARCHITECTURES[table] in wanted
    }
    return compile_policies(policies, tables)


def plan_profile(table: str, default: int, entries: Iterable[Entry]) -> Policy:
    """Return what becomes of each system call of a table.

    Args:
        table: Its name.
        default: The action for what no entry is about.
        entries: Those that count.
    """
    rules = dict[str, list[Rule]]()
    for entry in entries:
        for name in entry.names:
            rules.setdefault(name, []).append((entry.action, entry.conditions))
    newest = _find_newest(table, rules)
    if table == "i386":
        _add_multiplexed(rules, default)
    verdicts = {name: decide(found, default) for name, found in rules.items() if found}
    if default & KIND in _LETS_THROUGH:
        return Policy(verdicts, default, default, default)
    return Policy(verdicts, default, default, _ABSENT, newest)


def _find_newest(table: str, names: Iterable[str]) -> int:
    """Return the highest of the numbers that calls have in a table, or that of all that are known.

    Numbers far beyond are a table's own, and as old as the table.
    """
    numbers = read_table(table)
    found = [numbers[name] for name in names if name in numbers]
    return max((number for number in found if number <= NEWEST), default=NEWEST)


def _add_multiplexed(rules: dict[str, list[Rule]], default: int) -> None:
    """Let what is said of a call go for the part of another that does the same."""
    for whole, (mask, names) in _MULTIPLEXED.items():
        for number, name in enumerate(names.split(), 1):
            rules.setdefault(whole, []).extend(
                (action, ((0, mask, EQ, number),))
                for action, conditions in rules.get(name, ())
                # A part's arguments are in memory, where no filter can look. What forbids it for
                # some forbids it for all then, and what permits it for some, for none.
                if not conditions or rank(action) < rank(default)
            )


def _read(text: str) -> Profile:
    if text not in _profiles:
        if len(_profiles) == _MOST_KEPT:
            _profiles.clear()
        _profiles[text] = parse_profile(text)
    return _profiles[text]


def _check_names(profile: Profile) -> None:
    """Refuse to forbid what no table has: a name that is spelled wrong would forbid nothing."""
    if profile.default & KIND not in _LETS_THROUGH:
        return
    known = set[str]().union(*map(read_table, TABLES))
    for number, entry in enumerate(profile.entries):
        for name in entry.names:
            if name not in known and entry.action & KIND not in _LETS_THROUGH:
                raise ValueError(
                    f"syscalls[{number}].names has {name!r}, a system call that is not known, "
                    "and nothing else would stop it"
                )


def _find_kernel() -> tuple[int, int]:
    found = re.match(r"(\d+)(?:\.(\d+))?", os.uname().release)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)
