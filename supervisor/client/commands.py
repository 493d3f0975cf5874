"""The commands of `mocker` that ask a supervisor; each is loaded when it is typed."""

from collections.abc import Callable, Sequence
from functools import partial


def find_command(word: str) -> Callable[[Sequence[str]], int] | None:
    """Return what carries out the words after a command; None if there is none of that name."""
    match word:
        case "ps":
            from .ps_command import ps

            return ps
        case "start" | "stop" | "restart" | "kill" | "signal":
            from .action_commands import act

            return partial(act, word)
        case "exec":
            from .exec_command import execute

            return execute
        case _:
            return None
