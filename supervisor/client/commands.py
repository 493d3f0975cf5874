"""The commands of `mocker` that ask a supervisor; each is loaded when it is typed."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

# The module of each command, and the function that carries it out. Of several in one module, that
# is told which one was typed.
_ALONE = {
    "attach": ("attach_command", "attach"),
    "completion": ("completion_command", "complete"),
    "config": ("config_command", "config"),
    "events": ("events_command", "events"),
    "exec": ("exec_command", "execute"),
    "logs": ("logs_command", "logs"),
    "ps": ("ps_command", "ps"),
    "reload": ("reload_command", "reload"),
    "scale": ("scale_command", "scale"),
    "shutdown": ("shutdown_command", "shutdown"),
    "stats": ("stats_command", "stats"),
    "top": ("top_command", "top"),
    "wait": ("wait_command", "wait"),
}
_TOGETHER = dict.fromkeys(
    ("start", "stop", "restart", "kill", "pause", "resume", "signal"), ("action_commands", "act")
)
COMMANDS = (*_ALONE, *_TOGETHER)


def find_command(word: str) -> Callable[[Sequence[str]], int] | None:
    """Return what carries out the words after a command; None if there is none of that name."""
    if word in _ALONE:
        return _load(*_ALONE[word])
    return partial(_load(*_TOGETHER[word]), word) if word in _TOGETHER else None


def _load(module: str, function: str) -> Callable[..., int]:
    found: Callable[..., int] = getattr(import_module(f".{module}", __package__), function)
    return found
