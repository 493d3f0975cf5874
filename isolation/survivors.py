"""Which processes an init has below it, and what they are.

In a container those are all that its /proc shows. Without one they are the init's descendants: it
is a subreaper, so whatever loses its parent becomes a child of it.

Each thread has its own children, so all of a process's threads are asked.

Source: proc(5), /proc/PID/task/TID/children; prctl(2) PR_SET_CHILD_SUBREAPER.
"""

import os

_MAX_TITLE = 4096  # bytes of a command line that are looked at


def list_container() -> list[int]:
    """Return the processes of the calling process's PID namespace, itself apart."""
    own = os.getpid()
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) != own]


def list_descendants() -> list[int]:
    """Return the children of the calling process, with theirs, and so on."""
    found, parents = list[int](), [os.getpid()]
    while parents:
        children = _read_children(parents.pop())
        found += children
        parents += children
    return found


def read_title(pid: int) -> str:
    """Return the command line of a process as one text; nothing if it has none, or is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.fsdecode(file.read(_MAX_TITLE).rstrip(b"\0").replace(b"\0", b" "))
    except OSError:
        return ""


def _read_children(pid: int) -> list[int]:
    found = list[int]()
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []  # it is gone, and its children have come to the init
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
        except OSError:
            continue  # it has ended, and another has its children
    return found
