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
        case _:
            return _find_whole_command(word)


def _find_whole_command(word: str) -> Callable[[Sequence[str]], int] | None:
    """Return what carries out a command that is for the supervisor as a whole, or shows it."""
    match word:
        case "reload":
            from .reload_command import reload

            return reload
        case "config":
            from .config_command import config

            return config
        case "scale":
            from .scale_command import scale

            return scale
        case "shutdown":
            from .shutdown_command import shutdown

            return shutdown
        case _:
            return None
