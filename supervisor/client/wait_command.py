"""`mocker wait`: until jobs are ready, have completed or are stopped, for scripts and CI."""

import os
import time
from collections.abc import Sequence

from mocker.isolation import SpecError

from ..options import Option, Parsed
from ..quantities import parse_duration
from .action_commands import render_outcome
from .address import NoSupervisorError
from .answer_lines import AnswerLines
from .arguments import Command
from .client import Client
from .exchange import get_value
from .run import FAILED, run

_TIMED_OUT = 124  # as timeout(1) has it
_LOOK_S = 0.05  # between two looks for a supervisor
_CONDITIONS = ("ready", "completed", "stopped")
COMMAND = Command(
    "wait",
    "JOB...",
    "Wait until all of these jobs are as they are to be, or one of them will never be.",
    (
        Option("--for", "|".join(_CONDITIONS), "what they are to be (default: ready)"),
        Option("-t --timeout", "DURATION", "give up after this time, such as 30s or 2m"),
    ),
    count=range(1, 10**6),
    more="""\
what they are to be:
  ready      they run, and their probe says so if they have one; or have ended well after that
  completed  they have ended, with an exit code that counts as success
  stopped    nothing of them runs, and nothing will until somebody asks, or the clock does

With a timeout, a supervisor that has just been started is waited for as well.

exit status:
  0    all of them are
  1    one will never be, until somebody asks for it; or no supervisor answers
  2    wrong usage
  4    there is no such job
  124  the time is over""",
)


def wait(words: Sequence[str]) -> int:
    """Carry out the words after `mocker wait` and return the exit status."""
    return run(COMMAND, words, _carry_out)


async def _carry_out(parsed: Parsed, client: Client) -> int:
    condition = parsed.last("--for", _CONDITIONS[0])
    if condition not in _CONDITIONS:
        known = ", ".join(map(repr, _CONDITIONS))
        raise SpecError(f"--for must be one of {known}, not {condition!r}")
    began, seconds = time.monotonic(), _parse_timeout(parsed)
    while True:
        left_s = None if seconds is None else max(began + seconds - time.monotonic(), 0.0)
        try:
            async with (
                client,
                client.wait(*parsed.words, condition=condition, timeout_s=left_s) as outcomes,
            ):
                return await _tell(outcomes)
        except NoSupervisorError as error:
            if not error.may_come or not left_s:
                raise
        time.sleep(_LOOK_S)  # noqa: ASYNC251 - nobody else has to go on


async def _tell(outcomes: AnswerLines) -> int:
    """Print what came of each job, and return the exit status."""
    status = os.EX_OK
    async for outcome in outcomes:
        print(render_outcome(outcome), flush=True)
        if not get_value(outcome, "ok"):
            status = _TIMED_OUT if outcome.get("timed_out") else FAILED
    return status


def _parse_timeout(parsed: Parsed) -> float | None:
    if not parsed.has("--timeout"):
        return None
    try:
        return parse_duration(parsed.last("--timeout", ""))
    except ValueError as error:
        raise SpecError(f"--timeout {error}") from None
