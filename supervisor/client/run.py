"""The commands of `mocker` that ask a supervisor: which there are, and what they have in common."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from mocker.isolation import SpecError

from ..options import Parsed
from ..stderr import write_line
from .address import NoSupervisorError, choose_socket, connect
from .arguments import Command
from .ask import Asker
from .exchange import AnswerError, ProtocolError

WRONG_USAGE = 2
FAILED = 1
NO_SUCH_JOB = 4

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
        _check_count(command, parsed.words)
        return carry_out(parsed, lambda: _open(parsed, os.environ))
    except SpecError as error:
        return _tell(command, f"{error}; see 'mocker {command.name} --help'", WRONG_USAGE)
    except NoSupervisorError as error:
        return _tell(command, str(error), FAILED)
    except AnswerError as error:
        status = NO_SUCH_JOB if error.code == "no-such-job" else FAILED
        return _tell(command, str(error), status)
    except ProtocolError as error:
        return _tell(command, f"cannot understand what answers there: {error}", FAILED)
    except KeyboardInterrupt:
        return 130


def _open(parsed: Parsed, env: Mapping[str, str]) -> Asker:
    return Asker(connect(choose_socket(parsed.maybe("--supervisor"), env)))


def _check_count(command: Command, words: Sequence[str]) -> None:
    if len(words) < command.needs:
        raise SpecError(f"{command.takes} is needed")
    if command.most is not None and len(words) > command.most:
        raise SpecError(f"there is no use for {words[command.most]!r}")


def _tell(command: Command, text: str, status: int) -> int:
    sys.stdout.flush()
    write_line(f"mocker {command.name}: {text}")
    return status
