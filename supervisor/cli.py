"""The `mocker` command: which part of the program a command line is for, and how it ends.

The first words decide what is imported. A traceback is never shown: what can go wrong is a sentence
on stderr and an exit status.
"""

import _signal as signal
import errno
import gc
import os
import sys
from _collections_abc import Callable, Sequence
from io import TextIOWrapper

from .stderr import write_line

_USAGE = """\
usage: mocker run [OPTIONS] COMMAND [ARG...]   run a command in a container of its own
       mocker check FILE...                    tell whether the jobs of a file could start here
       mocker check-host                       tell what this host grants, and what to turn on
       mocker ps [JOB...]                      show the jobs of a supervisor
       mocker stats [JOB...]                   show what jobs use and have printed
       mocker top [JOB...]                     show that on the whole screen, start and stop jobs
       mocker start|stop|restart|kill JOB...   do that with jobs, and tell what came of it
       mocker pause|resume JOB...              freeze all processes of jobs, and let them go on
       mocker signal SIGNAL JOB...             send a signal to the commands of jobs
       mocker wait JOB...                      wait until jobs are ready, completed or stopped
       mocker logs [JOB...]                    show what jobs have printed, and go on with -f
       mocker events                           show how jobs are, and then each change
       mocker reload [--dry-run]               follow what has changed in the file, and tell it
       mocker scale JOB=NUMBER...              have so many replicas of jobs
       mocker config JOB                       show what a job is like
       mocker shutdown                         stop all jobs and the supervisor
       mocker exec JOB COMMAND [ARG...]        execute a command in a job that runs
       mocker attach JOB                       be at the terminal of a job that has one
       mocker completion bash|zsh|fish         print what makes a shell complete these lines
       mocker --version

`mocker COMMAND --help` tells more. `mocker-supervise FILE` keeps the jobs of a file running.
"""
_CHECK_HOST_USAGE = """\
usage: mocker check-host
Tell what this host grants to containers: a line each, ok, absent (something can't be had, and
containers run) or MISSING, with why, what can't be had without it, and what to do.

exit status:
  0    mocker run works here
  1    it does not
"""
_HELP = ("--help", "-h", "help")
# Of commands that supervisorctl and docker have, and of options that come before a command.
_INSTEAD = {
    "--supervisor": "COMMAND --supervisor NAME",
    "-s": "COMMAND -s NAME",
    "avail": "ps",
    "fg": "attach",
    "inspect": "config",
    "reread": "reload --dry-run",
    "status": "ps",
    "tail": "logs",
    "unpause": "resume",
    "update": "reload",
}
_WRONG_USAGE = 2
_GAVE_UP = 1


def main() -> None:
    """Be the `mocker` command; ends the process."""
    # Until a container runs nothing needs an orderly end: no traceback for Ctrl-C, a closed pipe.
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in the background of a script
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    # With SIGCHLD ignored, as some callers have it, nobody could be waited for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if isinstance(sys.stdout, TextIOWrapper):  # None where the caller closed it
        sys.stdout.reconfigure(errors="backslashreplace")  # a name in a locale that lacks a letter
    run_to_end("mocker", run_command)


def run_to_end(program: str, run: Callable[[Sequence[str]], int]) -> None:
    """Carry out the words of the command line, and end the process; does not return.

    Args:
        program: Whose name stands before what is said.
        run: Takes the words and returns the exit status.
    """
    try:
        code = run(sys.argv[1:])
        if sys.stdout is not None:  # closed by the caller
            sys.stdout.flush()
    except OSError as error:
        code = _give_up(program, error.errno or 0)
    except MemoryError:
        code = _give_up(program, errno.ENOMEM)
    except Exception as error:  # noqa: BLE001 - whatever it is, nobody is shown a traceback
        defect = "this is a defect of mocker's, please report it"
        write_line(f"{program}: cannot go on: {error!r}; {defect}")
        code = _GAVE_UP
    # Taking the interpreter apart would cost as much as a container, and a thread that is stuck in
    # a write that nobody takes would be waited for.
    os._exit(code)


def _give_up(program: str, number: int) -> int:
    """Say that something failed which every part of the program relies on, such as stdout."""
    reason = f"{os.strerror(number)} ({errno.errorcode.get(number, number)})"
    write_line(f"{program}: cannot go on: {reason}")
    return _GAVE_UP


def _tell(text: str) -> None:
    write_line(f"mocker: {text}")


def run_command(words: Sequence[str]) -> int:
    """Carry out a command line and return the exit status."""
    match list(words):
        case ["help", word] if word not in _HELP:
            return run_command([word, "--help"])
        case ["run" | "check" | "check-host" as word, *arguments]:
            return _run_part(word, arguments)
        case ["--version"]:
            from importlib.metadata import version

            print("mocker", version("mocker-supervise"))
            return os.EX_OK
        case ["--version", *_]:
            _tell("--version takes no arguments")
            return _WRONG_USAGE
        case [word, *_] if word in _HELP:
            print(_USAGE, end="")
            return os.EX_OK
        case _:
            return _ask_supervisor(words)


def _ask_supervisor(words: Sequence[str]) -> int:
    """Carry out a command that asks a supervisor, if it is one."""
    from .client.commands import find_command

    command = find_command(words[0]) if words else None
    if command is not None:
        return command(words[1:])
    what = f"unknown command {words[0]!r}" if words else "a command is needed"
    instead = _INSTEAD.get(words[0]) if words else None
    _tell(f"{what}; use 'mocker {instead}'" if instead else f"{what}; see 'mocker --help'")
    return _WRONG_USAGE


def _run_part(word: str, arguments: Sequence[str]) -> int:
    if word == "run":
        # Looking for garbage among what is loaded, and stays, takes a tenth of loading it. Who
        # starts an event loop lets the search begin.
        gc.disable()
        from .run_command import run

        return run(arguments)
    if word == "check":
        from .check_command import check

        return check(arguments)
    return _check_host(arguments)


def _check_host(arguments: Sequence[str]) -> int:
    if not arguments:
        from .check_host_command import print_host_checks

        return print_host_checks()
    if arguments[0] in _HELP:
        print(_CHECK_HOST_USAGE, end="")
        return os.EX_OK
    _tell("check-host takes no arguments")
    return _WRONG_USAGE
