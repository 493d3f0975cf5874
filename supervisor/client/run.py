"""What the commands of `mocker` that ask a supervisor share: help, errors and exit statuses."""

import os
from collections.abc import Callable, Coroutine, Sequence

from mocker.isolation import SpecError

from ..installed_version import VERSION
from ..options import Parsed
from ..stderr import write_line
from .address import NoSupervisorError
from .arguments import Command
from .blocking_transport import BlockingTransport, ReaderGoneError, run_blocking
from .client import Client
from .exchange import AnswerError, ProtocolError

WRONG_USAGE = 2
FAILED = 1
NO_SUCH_JOB = 4
_BAD_REQUEST = 400  # of HTTP

CarryOut = Callable[[Parsed, Client], Coroutine[object, None, int]]


def run(command: Command, words: Sequence[str], carry_out: CarryOut, *, reader_fd: int = -1) -> int:
    """Carry out a command and return the exit status.

    Args:
        command: What it takes.
        words: After it.
        carry_out: Is given what they say, and what asks the supervisor that they mean.
        reader_fd: Where the answer is shown, if it is of no use once nobody reads that; else -1.
    """
    try:
        parsed = command.parse(words)
        if parsed.has("--help"):
            print(command.render_help(), end="")
            return os.EX_OK
        client = Client(
            parsed.maybe("--supervisor"),
            transport=BlockingTransport(reader_fd=reader_fd),
            tell_version=_VersionTeller(command.name).tell,
        )
        return run_blocking(carry_out(parsed, client))
    except ReaderGoneError:
        return os.EX_OK
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


class _VersionTeller:
    """What says once if the supervisor is of another version."""

    def __init__(self, command: str) -> None:
        self._command, self._told = command, False

    def tell(self, theirs: str) -> None:
        if not self._told:
            self._told = tell_version(self._command, theirs)
