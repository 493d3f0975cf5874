"""The last steps before the command is executed, in the process that becomes it.

The order matters: groups before the user, the working directory as the user, limits when nothing
else has to be opened, signals last, so that none arrives before its default action is in place.
"""

import os
from _collections_abc import Mapping, Sequence
from errno import EACCES, ENOENT, ENOEXEC, ENOTDIR

from .calls import close_range, dup2, dup_above, then
from .errors import NOT_EXECUTABLE, NOT_FOUND, CommandError, SetupError
from .memory import Cell
from .own_program import SHELL, refuse_own_program
from .process_calls import encode_words, execve
from .spec import DEFAULT_PATH, ContainerSpec
from .syscalls import CLOSE_RANGE_CLOEXEC
from .tape import Call
from .users import User

Program = tuple[int, int]  # the device and inode of its file
_SEARCH_GOES_ON = (EACCES, ENOENT, ENOTDIR)  # as in execvp(3): another directory may do


def make_env(spec: ContainerSpec, user: User) -> dict[str, str]:
    """Return the command's environment."""
    return {
        "PATH": DEFAULT_PATH,
        "HOME": user.home,
        "TERM": "xterm" if spec.terminal else "dumb",
        "HOSTNAME": spec.hostname,
        **({} if spec.notify is None else {"NOTIFY_SOCKET": f"@{spec.notify}"}),
        **spec.env,
    }


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
            raise SetupError("change to directory ", error.errno or 0, path) from error
        inside = False
    if not inside:
        os.chdir("/")


def place_stdio(fds: Sequence[int], fourth: int | None = None) -> list[Call]:
    """Return the calls that make three descriptors 0, 1 and 2; no other reaches the command.

    Args:
        fds: The descriptors, and one more if there is a fourth.
        fourth: The number of that.
    """
    numbers = [0, 1, 2] if fourth is None else [0, 1, 2, fourth]
    moved = [Cell(-1) for _ in fds]
    return [
        # First out of the way: a source may itself be one of the numbers.
        *(dup_above(fd, max(numbers) + 1, to=cell) for fd, cell in zip(fds, moved, strict=True)),
        close_range(3, flags=CLOSE_RANGE_CLOEXEC),
        *(dup2(cell, number) for number, cell in zip(numbers, moved, strict=True)),
    ]


def try_execute(
    argv: tuple[str, ...], env: Mapping[str, str], *, guarded: Program | None
) -> list[Call]:
    """Return the calls that execute a command as execvpe(3) does, if nothing is in the way.

    Args:
        argv: The command.
        env: Its environment, with the PATH that it is searched for in.
        guarded: What it must not lead to, see `own_program`; None for nothing.
    """
    paths = _candidates(argv[0], env.get("PATH", DEFAULT_PATH))
    guard = [then(refuse_own_program, argv[0], paths, guarded)] if guarded else []
    words = encode_words(argv, env)
    return [*guard, *(execve(path, *words, tolerated=_SEARCH_GOES_ON) for path in paths)]


def execute(argv: tuple[str, ...], env: Mapping[str, str], *, guarded: Program | None) -> None:
    """Execute a command as execvpe(3) does, with the PATH of `env`, or say what is in the way.

    Args:
        argv: The command.
        env: Its environment.
        guarded: As in `try_execute`.

    Raises:
        CommandError: It could not be executed; otherwise this does not return.
    """
    command = argv[0]
    failures: list[CommandError] = []
    paths = _candidates(command, env.get("PATH", DEFAULT_PATH))
    if guarded:
        refuse_own_program(command, paths, guarded)
    for path in paths:
        try:
            os.execve(path, argv, env)
        except OSError as error:
            if error.errno == ENOEXEC:
                _execute_script(path, argv, env)
            failure = _explain(command, path, error.errno or 0)
            if error.errno not in _SEARCH_GOES_ON:
                raise failure from error
            failures.append(failure)
    # What is there and can't be executed says more than what is not there.
    failure = max(failures, key=lambda failure: (failure.errno == EACCES, failure.hint != ""))
    if failure.exit_code == NOT_FOUND and not failure.hint and "/" not in command:
        failure.hint = "it is in no directory of the container's PATH"
    raise failure


def _candidates(command: str, search_path: str) -> tuple[str, ...]:
    if "/" in command:
        return (command,)
    return tuple(f"{directory or '.'}/{command}" for directory in search_path.split(":"))


def _execute_script(path: str, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
    try:
        os.execve(SHELL, [SHELL, path, *argv[1:]], env)
    except OSError:
        return  # then the first answer, ENOEXEC, is the better explanation


def _explain(command: str, path: str, errno: int) -> CommandError:
    if errno not in {ENOENT, ENOTDIR}:
        return CommandError(command, errno, NOT_EXECUTABLE)
    hint = ""
    if os.path.exists(path):
        hint = f"{path} is there, but the interpreter or loader that it names is not"
    elif os.path.lexists(path):
        hint = f"{path} is a link to something that is not there"
    return CommandError(command, ENOENT, NOT_FOUND, hint)
