"""Which processes are below another one, and what they are: what a container's end has to kill.

Asked by an init, which in a container sees nothing else in /proc, and by its parent from outside.
The processes may end meanwhile. One that hangs in the kernel may keep whoever reads its command
line, so a program with an event loop asks in a thread.

Source: proc(5), /proc/PID/task/TID/children and /proc/PID/cmdline.
"""

import os

_MAX_TITLE = 200  # bytes of a command line that are looked at


def list_container() -> list[int]:
    """Return the processes of the calling process's PID namespace, itself apart."""
    own = os.getpid()
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) != own]


def list_descendants(pid: int, most: int = 2**22) -> list[int]:
    """Return the children of a process, with theirs, and so on.

    Below a subreaper that is everything it has started: what loses its parent becomes its child.

    Args:
        pid: Of the process.
        most: How many to return at most; the default is what a kernel has at most.
    """
    found = _read_children(pid)
    for child in found:  # and those that come to it meanwhile
        if len(found) >= most:
            break
        found += _read_children(child)
    return found[:most]


def read_title(pid: int) -> str:
    """Return the command line of a process, or its name in brackets; nothing if it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(_MAX_TITLE).rstrip(b"\0")
        if not words:
            with open(f"/proc/{pid}/status", "rb") as file:
                status = file.read()
            if b"\nState:\tZ" in status:
                return ""
            words = b"[" + status.partition(b"\n")[0].removeprefix(b"Name:\t") + b"]"
    except OSError:
        return ""
    return words.replace(b"\0", b" ").decode(errors="replace")


def _read_children(pid: int) -> list[int]:
    found = list[int]()
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []  # it is gone, and its children have come to the init
    for thread in threads:  # each has its own children
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
        except OSError:
            continue  # it has ended, and another has its children
    return found
