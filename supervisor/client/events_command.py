"""`mocker events`: how all jobs are, and then each change."""

import os
from collections.abc import Sequence

from ..options import Option, Parsed
from ..stderr import make_printable
from .arguments import Command
from .client import Client
from .exchange import ProtocolError
from .run import run
from .told_lines import Told, parse_told

COMMAND = Command(
    "events",
    "",
    "Show how all jobs are, and then each change, until Ctrl-C.",
    (Option("--json", "", "print what the supervisor answers, for programs"),),
    count=range(1),
    more="""\
exit status:
  0  the supervisor has ended
  1  no supervisor answers, it is gone, or too many changes were not taken
  2  wrong usage""",
)
_STDOUT = 1


def events(words: Sequence[str]) -> int:
    """Carry out the words after `mocker events` and return the exit status."""
    return run(COMMAND, words, _show, reader_fd=_STDOUT)


async def _show(parsed: Parsed, client: Client) -> int:
    async with client, client.events() as changes:
        while text := await changes.receive_text():
            told = parse_told(text)
            shown = text.decode() if parsed.has("--json") else "".join(map(_render, told))
            print(shown, end="", flush=True)
    return os.EX_OK


def _render(told: Told) -> str:
    """Return one change as a line."""
    try:
        words = [told["time"], told["job"]]
        if told["event"] == "removal":
            return f"{_join(*words, 'removed')}\n"
        words.append(f"{told['state']} (paused)" if told.get("paused") else told["state"])
        if told["pid"] is not None:
            words.append(f"pid {told['pid']}")
        if told["attempt"]:
            words.append(f"attempt {told['attempt']}")
        reasons = [told["exit"], "OOMKilled" if told.get("oom_killed") else "", told["reason"]]
    except KeyError as key:
        raise ProtocolError(f"a change has no {key}") from key
    why = "; ".join(str(each) for each in reasons if each)
    return f"{_join(*words, f'({why})' if why else '')}\n"


def _join(*words: object) -> str:
    return make_printable("  ".join(str(word) for word in words if word))
