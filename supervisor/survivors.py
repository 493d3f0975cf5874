"""Who is left in a container: what had to be killed, because it did not end when it was told to.

Read from /proc, from the container's init downwards. The processes may end meanwhile, and one that
hangs in the kernel may keep whoever reads its command line: not for the event loop's thread.

Source: proc_pid_task(5) children, proc_pid_cmdline(5).
"""

import os

_MOST = 50  # processes; a fork bomb's thousands help nobody
_LONGEST = 200  # bytes of a command line


def list_survivors(init: int) -> list[str]:
    """Return "PID COMMAND LINE" of the processes below an init, as the host counts; 50 at most."""
    found: list[str] = []
    parents = [init]
    while parents and len(found) < _MOST:
        children = _read_children(parents.pop(0))
        parents += children
        found += [f"{pid} {command}" for pid in children if (command := _describe(pid))]
    return found[:_MOST]


def _read_children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        # A thread's children are listed with the thread.
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                children += map(int, file.read().split())
    except OSError:
        pass  # it has ended
    return children


def _describe(pid: int) -> str:
    """Return the command line of a process, its name in brackets if it has none; "" if it ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(_LONGEST).rstrip(b"\0")
        if not words:
            with open(f"/proc/{pid}/status", "rb") as file:
                status = file.read()
            if b"\nState:\tZ" in status:
                return ""
            words = b"[" + status.partition(b"\n")[0].removeprefix(b"Name:\t") + b"]"
    except OSError:
        return ""
    return words.replace(b"\0", b" ").decode(errors="replace")
