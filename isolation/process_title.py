"""What ps(1) shows of a process that was forked and never executed anything.

The kernel reads /proc/PID/cmdline and /proc/PID/environ from the process's own memory. A fork
would go on showing the command line and the environment of the program that it came from; the init
of a container overwrites both, so that nothing of the host can be read there.

Source: proc(5), /proc/PID/stat fields 48 to 51.
"""

from .process_calls import overwrite_memory
from .tape import Call

_ARG_START = 47  # index of the field in /proc/PID/stat, counted from 0

_found: list[tuple[int, int, int]] = []  # asked once: it is the same in every fork


def find_strings() -> tuple[int, int, int]:
    """Return where the command line starts, where it ends, and where the environment ends.

    The result holds for every fork of the calling process.
    """
    if not _found:
        with open("/proc/self/stat", "rb") as file:
            # The second field, the name in parentheses, may itself have spaces.
            fields = file.read().rpartition(b")")[2].split()
        arg_start, arg_end, _, env_end = map(int, fields[_ARG_START - 2 : _ARG_START + 2])
        _found.append((arg_start, arg_end, env_end))
    return _found[0]


def overwrite_strings(place: tuple[int, int, int], title: str) -> list[Call]:
    """Return the calls that replace the command line by a title, and the environment by nothing."""
    arg_start, arg_end, env_end = place
    return [
        *overwrite_memory(arg_start, arg_end, title.encode()[: arg_end - arg_start - 1]),
        *overwrite_memory(arg_end, env_end, b""),
    ]
