"""What a program and all of its descendants use: processes, memory, processor time; and their end.

A supervisor that is measured may fail half-way, and some leave their jobs behind when they die. So
whoever measures becomes a subreaper: then everything that it has started stays its descendant, and
can be found and ended by its pid.
"""

import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mocker.isolation.syscalls import set_child_subreaper

_GONE_S = 10.0  # seconds for what was killed
_CPUCLOCK_SCHED = 2  # MAKE_PROCESS_CPUCLOCK, include/linux/posix-timers_types.h


def list_children(pid: int) -> list[int]:
    """Return the processes that a process or one of its threads is the parent of."""
    children: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += map(int, (task / "children").read_text().split())
    return children


def list_descendants(pid: int) -> list[int]:
    found = list_children(pid)
    for each in found:  # it grows meanwhile
        found += list_children(each)
    return found


def read_name(pid: int) -> str:
    """Return the name of the program that a process executes, "" if it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().rstrip()
    return ""


def read_private_memory(pids: Iterable[int]) -> int:
    """Return the bytes that only one of these processes has in memory each.

    Raises:
        PermissionError: One of them is not dumpable, and the caller is not root.
    """
    return sum(
        int(line.split()[1]) * 1024
        for pid in pids
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Private_")
    )


def read_resident_memory(pid: int) -> int:
    """Return the bytes of memory that a process has and no file; a fork may share them.

    Anybody may ask. A kernel thread has none.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def read_processor_time(pids: Iterable[int]) -> float:
    """Return the seconds that processes have run on a processor, threads that ended included.

    Not from /proc/PID/stat: its hundredths of a second come from looking who runs at each tick, and
    who wakes up for less between two of them is never seen.

    Source: clock_getcpuclockid(3); the number of the clock is the kernel's.
    """
    return sum(time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED) for pid in pids)


def wait_gone(pid: int, seconds: float) -> bool:
    """Wait for a child to end, without collecting it; return whether it does in time."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))
    finally:
        os.close(pidfd)


@contextmanager
def leaving_nothing() -> Iterator[None]:
    """Kill whatever the block has started and left, and what that has left."""
    set_child_subreaper()
    before = set(list_descendants(os.getpid()))
    try:
        yield
    finally:
        deadline = time.monotonic() + _GONE_S
        while (left := _list_left(before)) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def _list_left(before: set[int]) -> list[int]:
    """Return the descendants that are not known from before, once the dead ones are collected."""
    for pid in set(list_children(os.getpid())) - before:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return [pid for pid in list_descendants(os.getpid()) if pid not in before]
