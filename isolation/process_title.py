"""What ps(1) shows of a process that was forked and never executed anything.

The kernel reads /proc/PID/cmdline and /proc/PID/environ from the process's own memory. A fork
would go on showing the command line and the environment of the program that it came from; the init
of a container overwrites both, so that nothing of the host can be read there.

Source: proc(5), /proc/PID/stat fields 48 to 51.
"""

from .syscalls import overwrite_memory

_ARG_START = 47  # index of the field in /proc/PID/stat, counted from 0


def find_strings() -> tuple[int, int, int]:
    """Return where the command line starts, where it ends, and where the environment ends.

    The result holds for every fork of the calling process.
    """
    with open("/proc/self/stat", encoding="latin-1") as file:
        # The second field, the name in parentheses, may itself have spaces.
        fields = file.read().rpartition(")")[2].split()
    arg_start, arg_end, _, env_end = map(int, fields[_ARG_START - 2 : _ARG_START + 2])
    return arg_start, arg_end, env_end


def overwrite_strings(place: tuple[int, int, int], title: str) -> None:
    """Replace the command line by a title, and the environment by nothing."""
    arg_start, arg_end, env_end = place
    overwrite_memory(arg_start, arg_end, title.encode()[: arg_end - arg_start - 1])
    overwrite_memory(arg_end, env_end, b"")
