"""What the commands of `mocker` that ask a supervisor share: help, errors and exit statuses."""

import os
from collections.abc import Callable, Mapping, Sequence

from mocker.isolation import SpecError

from ..installed_version import VERSION
from ..options import Parsed
from ..stderr import write_line
from .address import NoSupervisorError, choose_socket, connect
from .arguments import Command
from .ask import Asker
from .exchange import AnswerError, ProtocolError

WRONG_USAGE = 2
FAILED = 1
NO_SUCH_JOB = 4
_BAD_REQUEST = 400  # of HTTP

Ask = Callable[[], Asker]


def run(command: Command, words: Sequence[str], carry_out: Callable[[Parsed, Ask], int]) -> int:
    """Carry out a command and return the exit status.

    Args:
        command: What it takes.
        words: After it.
        carry_out: Is given what they say, and what asks one question each time.
    """
    try:
        parsed = command.parse(words)
        if parsed.has("--help"):
            print(command.render_help(), end="")
            return os.EX_OK
        return carry_out(parsed, _Opener(command.name, parsed, os.environ).open)
    except SpecError as error:
        text, status = str(error), WRONG_USAGE
    except AnswerError as error:
        otherwise = WRONG_USAGE if error.status == _BAD_REQUEST else FAILED
        text, status = str(error), NO_SUCH_JOB if error.code == "no-such-job" else otherwise
    except NoSupervisorError as error:
        text, status = str(error), FAILED
    except ProtocolError as error:
        text, status = f"cannot understand what answers there: {error}", FAILED
    print(end="", flush=True)  # not by sys.stdout, which the caller may have closed
    write_line(f"mocker {command.name}: {text}")
    return status


def tell_version(command: str, theirs: str) -> bool:
    """Say that the supervisor is of another version; return whether it is.

    Args:
        command: That asks it.
        theirs: What the supervisor says; empty if it does not.
    """
    if not theirs or not VERSION or theirs == VERSION:
        return False
    write_line(f"mocker {command}: this is mocker {VERSION}, the supervisor is {theirs}")
    return True


class _Opener:
    """What connects to the supervisor that is meant, and says once if it is of another version."""

    def __init__(self, command: str, parsed: Parsed, env: Mapping[str, str]) -> None:
        self._command, self._parsed, self._env = command, parsed, env
        self._told = False

    def open(self) -> Asker:
        """Return what asks one question."""
        path = choose_socket(self._parsed.maybe("--supervisor"), self._env)
        return Asker(connect(path), self._compare)

    def _compare(self, theirs: str) -> None:
        if not self._told:
            self._told = tell_version(self._command, theirs)
