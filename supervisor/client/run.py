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
        return carry_out(parsed, lambda: _open(parsed, os.environ))
    except SpecError as error:
        text, status = str(error), WRONG_USAGE
    except AnswerError as error:
        text, status = str(error), NO_SUCH_JOB if error.code == "no-such-job" else FAILED
    except NoSupervisorError as error:
        text, status = str(error), FAILED
    except ProtocolError as error:
        text, status = f"cannot understand what answers there: {error}", FAILED
    sys.stdout.flush()
    write_line(f"mocker {command.name}: {text}")
    return status


def _open(parsed: Parsed, env: Mapping[str, str]) -> Asker:
    return Asker(connect(choose_socket(parsed.maybe("--supervisor"), env)))
