"""The last steps before the command is executed, in the process that becomes it.

The order matters: groups before the user, the working directory as the user, limits when nothing
else has to be opened, signals last, so that none arrives before its default action is in place.
"""

import fcntl
import os
from collections.abc import Mapping, Sequence
from errno import EACCES, ENOENT, ENOEXEC, ENOTDIR

from .errors import CommandError, SetupError
from .spec import DEFAULT_PATH
from .syscalls import close_range_cloexec

NOT_EXECUTABLE = 126
NOT_FOUND = 127
_SHELL = "/bin/sh"


def change_directory(path: str, *, needed: bool) -> None:
    """Go to the working directory, or to "/" where it is not there and nobody asked for it.

    Raises:
        SetupError: It is needed and not there.
    """
    try:
        os.chdir(path)
        inside = os.getcwd().startswith("/")  # else "(unreachable)…", a directory of the host
    except OSError as error:
        if needed:
            raise SetupError("change to directory", error.errno or 0, path) from error
        inside = False
    if not inside:
        os.chdir("/")


def place_stdio(fds: Sequence[int]) -> None:
    """Make three descriptors 0, 1 and 2, and let no other reach the command."""
    # First out of the way: a source may itself be 0, 1 or 2, in another order.
    high = [_above_stdio(fd) for fd in fds]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    close_range_cloexec(3)


def _above_stdio(fd: int) -> int:
    """Duplicate a descriptor to a number above 2."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def execute(argv: tuple[str, ...], env: Mapping[str, str]) -> None:
    """Execute a command as execvpe(3) does, with the PATH of `env`.

    Raises:
        CommandError: It could not be executed; otherwise this does not return.
    """
    command = argv[0]
    denied = False
    for path in _candidates(command, env.get("PATH", DEFAULT_PATH)):
        try:
            os.execve(path, argv, env)
        except OSError as error:
            if error.errno == ENOEXEC:
                _execute_script(path, argv, env)
            if error.errno in {ENOENT, ENOTDIR} and not os.path.lexists(path):
                continue
            if error.errno == EACCES and "/" not in command:
                denied = True
                continue
            raise _explain(command, path, error.errno or 0) from error
    if denied:
        raise CommandError(command, EACCES, NOT_EXECUTABLE)
    hint = "" if "/" in command else "it is in no directory of the container's PATH"
    raise CommandError(command, ENOENT, NOT_FOUND, hint)


def _candidates(command: str, search_path: str) -> list[str]:
    if "/" in command:
        return [command]
    return [f"{directory or '.'}/{command}" for directory in search_path.split(":")]


def _execute_script(path: str, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
    try:
        os.execve(_SHELL, [_SHELL, path, *argv[1:]], env)
    except OSError:
        return  # then the first answer, ENOEXEC, is the better explanation


def _explain(command: str, path: str, errno: int) -> CommandError:
    if errno == ENOENT:
        hint = f"{path} is there, but the interpreter or loader that it names is not"
        return CommandError(command, errno, NOT_FOUND, hint)
    return CommandError(command, errno, NOT_EXECUTABLE)
