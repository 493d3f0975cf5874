"""`mocker scale`: other numbers of replicas, and what came of each that came or went."""

import os
from collections.abc import Sequence

from mocker.isolation import SpecError

from ..options import Parsed
from .action_commands import tell_outcome
from .arguments import Command
from .client import Client
from .run import FAILED, run

_MOST_DIGITS = 9
COMMAND = Command(
    "scale",
    "JOB=NUMBER...",
    "Have so many replicas of a job whose entry in the file says 'replicas'.",
    count=range(1, 10**6),
    more="""\
Those with the highest numbers are removed first. It lasts until the entry in the file is another
one; a reload of a file that has the same of it changes nothing.

exit status:
  0  it is so
  1  it is not for some, or no supervisor answers
  2  wrong usage
  4  there is no such job""",
)


def scale(words: Sequence[str]) -> int:
    """Carry out the words after `mocker scale` and return the exit status."""
    return run(COMMAND, words, _scale)


async def _scale(parsed: Parsed, client: Client) -> int:
    counts = dict(map(_parse_count, parsed.words))
    worst, told = os.EX_OK, 0
    async with client, client.scale(counts) as outcomes:
        async for outcome in outcomes:
            tell_outcome(outcome)
            worst = worst if outcome.get("ok") else FAILED
            told += 1
    if not told:
        print("nothing has changed")
    return worst


def _parse_count(word: str) -> tuple[str, int]:
    name, _, number = word.rpartition("=")
    if not name or not (number.isascii() and number.isdecimal() and len(number) <= _MOST_DIGITS):
        raise SpecError(f"JOB=NUMBER is needed, such as web=4, not {word!r}")
    return name, int(number)
