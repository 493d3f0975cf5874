"""What the processes of containers use: CPU and memory, by a look at /proc.

All of them are found in one walk, by who is whose child: within a container the init becomes the
parent of whoever has lost its own. Processes come and go meanwhile, which is no error; what one
that ended has used is added to the figures of who waited for it, in the end the init.

It may take long, so a program with an event loop asks in a thread.

The memory is from /proc/PID/statm: what /proc/PID/stat says of it may be wrong by some megabytes,
as the kernel does not add up there what its processors have yet to report.

Source: proc(5), /proc/PID/stat and /proc/PID/statm.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import NamedTuple

_MOST = 1024  # bytes of a line, which has up to 50 numbers
_PARENT = 1  # of the words behind the name, which stands in parentheses
_TIMES = slice(11, 15)  # user and system, then those of the children that were waited for
_RESIDENT = 1  # of the words in /proc/PID/statm


class Use(NamedTuple):
    """What the processes of a container use, its init apart.

    Attributes:
        cpu_s: Seconds since the init began, those of processes that have ended as well.
        memory_bytes: That are in memory; what several of them share counts for each.
        processes: How many they are.
    """

    cpu_s: float
    memory_bytes: int
    processes: int


class _Process(NamedTuple):
    """One line of /proc/PID/stat; times in ticks."""

    parent: int
    own: int
    waited_for: int


def measure_use(inits: Collection[int]) -> dict[int, Use]:
    """Return what is used below each init that still runs, by its pid.

    Nothing is found where /proc belongs to another PID namespace, or hides what other users run.
    """
    if not _is_own_proc():
        return {}
    processes = dict(_walk())
    children = dict[int, list[int]]()
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    tick, page = 1 / os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    uses = dict[int, Use]()
    for init in processes.keys() & set(inits):
        below = _list_below(init, children)
        ticks = sum(processes[pid].own + processes[pid].waited_for for pid in below)
        ticks += processes[init].waited_for
        pages = sum(map(_count_pages, below))
        uses[init] = Use(ticks * tick, pages * page, len(below))
    return uses


def _list_below(pid: int, children: dict[int, list[int]]) -> list[int]:
    """Return a process's children, with theirs, and so on; they are taken out of what is given."""
    found = children.pop(pid, [])
    for child in found:  # and those that come to it meanwhile
        found += children.pop(child, [])
    return found


def _is_own_proc() -> bool:
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def _walk() -> Iterator[tuple[int, _Process]]:
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError):  # it has ended, or is hidden
                yield int(name), _parse(_read(f"/proc/{name}/stat"))


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)  # half the time of `open`
    try:
        return os.read(fd, _MOST)
    finally:
        os.close(fd)


def _parse(line: bytes) -> _Process:
    words = line[line.rindex(b")") + 1 :].split(None, _TIMES.stop)
    user, system, waited_user, waited_system = map(int, words[_TIMES])
    return _Process(int(words[_PARENT]), user + system, waited_user + waited_system)


def _count_pages(pid: int) -> int:
    """Return how many pages of a process are in memory; none if it has ended."""
    try:
        return int(_read(f"/proc/{pid}/statm").split()[_RESIDENT])
    except OSError:
        return 0
