"""`mocker-supervise FILE`: from the first instruction to the exit status.

The order matters. Signals are recorded before anything that takes time. The fork server is made
while this process is small and has one thread, and only then comes what is big: attrs, structlog,
trio and all that needs them, while the fork server starts.
"""

import gc
import os
import sys
from collections.abc import Sequence

from .cli import run_to_end
from .signals import record_early_signals
from .stderr import write_line

_USAGE = """\
usage: mocker-supervise FILE
       mocker-supervise --help | --version

Keep the jobs of a file running, each in a container of its own.

signals:
  TERM, INT  stop all jobs in order; the second one kills them at once
  HUP        read the file again, and follow what has changed in it
  USR1, USR2 open all log files anew
  QUIT       tell the state of each job

exit status:
  0  all went well and nothing is left to run, or a signal stopped all in order,
     whatever had failed before
  1  a job failed for good or was skipped, stopping had to be forced, the name
     is taken, or mocker itself cannot go on
  2  the file or the command line has mistakes; nothing was started
  that of a critical job, if one ended; 128+N if signal N ended it
"""
_WRONG_USAGE = 2
_CANNOT_RUN = 1


def main() -> None:
    """Be the `mocker-supervise` command; ends the process."""
    record_early_signals()
    run_to_end("mocker-supervise", run_command)


def tell(text: str) -> None:
    """Say something to the person who called, on stderr."""
    write_line(f"mocker-supervise: {text}")


def run_command(words: Sequence[str]) -> int:
    """Carry out a command line and return the exit status."""
    match list(words):
        case ["--help" | "-h", *_]:
            print(_USAGE, end="")
            return os.EX_OK
        case ["--version"]:
            from importlib.metadata import version

            print("mocker-supervise", version("mocker-supervise"))
            return os.EX_OK
        case ["--version", *_]:
            tell("--version takes no arguments")
        case ["--", path]:
            return _supervise(path)
        case [path] if not path.startswith("-"):
            return _supervise(path)
        case [word, *_] if word.startswith("-"):
            tell(f"unknown option {word!r}; see 'mocker-supervise --help'")
        case []:
            tell("a file is needed; see 'mocker-supervise --help'")
        case _:
            tell("one file is enough; see 'mocker-supervise --help'")
    return _WRONG_USAGE


def _supervise(path: str) -> int:
    from mocker.isolation import ForkServer, IsolationError

    from .foreground import fill_standard_descriptors

    fill_standard_descriptors()
    try:
        server = ForkServer(meanwhile=_import_all)
    except IsolationError as error:
        tell(str(error))
        return _CANNOT_RUN
    with server:
        from .supervise_file import supervise_file

        return supervise_file(path, server, tell)


def _import_all() -> None:
    # All that is imported and read before the first job starts is to stay. Looking for garbage
    # among it takes a sixth of that time; `supervise_file` lets the search begin.
    gc.disable()
    # structlog imports it where it is there, for tracebacks in colour, which nobody is shown: a
    # fifth of all that is imported.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # as if it were not there
    from . import supervise_file  # noqa: F401 - it takes most of the time before the first start
