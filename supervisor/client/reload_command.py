"""`mocker reload`: follow what has changed in the file, and tell it."""

import json
import os
from collections.abc import Mapping, Sequence

from ..options import Option, Parsed
from ..stderr import make_printable, write_line
from .arguments import Command
from .client import Client
from .exchange import AnswerError, ProtocolError
from .run import WRONG_USAGE, run

COMMAND = Command(
    "reload",
    "",
    "Have the supervisor read its file again and follow what has changed; wait until it has.",
    (
        Option("-n --dry-run", "", "change nothing, and tell what would be changed"),
        Option("--json", "", "print what the supervisor answers, for programs"),
    ),
    count=range(1),
    more="""\
Jobs that come, or have changed, are starting then; 'mocker wait' waits until they have.

exit status:
  0  it is done, or there is nothing to do
  1  no supervisor answers, or it is stopping
  2  wrong usage, or the file has mistakes; nothing is changed""",
)


def reload(words: Sequence[str]) -> int:
    """Carry out the words after `mocker reload` and return the exit status."""
    return run(COMMAND, words, _reload)


async def _reload(parsed: Parsed, client: Client) -> int:
    is_dry = parsed.has("--dry-run")
    try:
        async with client:
            answer = await client.reload(dry_run=is_dry)
    except AnswerError as error:
        if error.code != "config-rejected":
            raise
        for mistake in error.mistakes or [str(error)]:
            write_line(f"mocker reload: {mistake}")
        return WRONG_USAGE
    if parsed.has("--json"):
        print(json.dumps(answer))
    else:
        print(*map(make_printable, _list_lines(answer, "to be " if is_dry else "")), sep="\n")
    return os.EX_OK


def _list_lines(answer: Mapping[str, object], mood: str) -> list[str]:
    changed = answer.get("changed")
    if not isinstance(changed, dict):
        raise ProtocolError("it has no 'changed'")
    lines = [f"{name}: {mood}added" for name in _take_names(answer, "added")]
    lines += [f"{name}: {mood}changed ({', '.join(keys)})" for name, keys in changed.items()]
    lines += [f"{name}: {mood}removed" for name in _take_names(answer, "removed")]
    lines += [
        f"{key if key == 'control' else f'supervisor.{key}'}: "
        "stays as it is until the supervisor is started anew"
        for key in _take_names(answer, "needs_restart")
    ]
    return lines or ["nothing has changed"]


def _take_names(answer: Mapping[str, object], key: str) -> list[str]:
    names = answer.get(key)
    if not isinstance(names, list):
        raise ProtocolError(f"it has no list {key!r}")
    return names
