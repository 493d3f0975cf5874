"""`mocker wait`: until jobs are ready, have completed or are stopped, for scripts and CI."""

import os
from collections.abc import Sequence

from mocker.isolation import SpecError

from ..options import Option, Parsed
from ..quantities import parse_duration
from .action_commands import render_outcome
from .arguments import Command
from .exchange import get_value
from .run import FAILED, Ask, run

_TIMED_OUT = 124  # as timeout(1) has it
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


def _carry_out(parsed: Parsed, ask: Ask) -> int:
    condition = parsed.last("--for", _CONDITIONS[0])
    if condition not in _CONDITIONS:
        known = ", ".join(map(repr, _CONDITIONS))
        raise SpecError(f"--for must be one of {known}, not {condition!r}")
    body: dict[str, object] = {"jobs": list(parsed.words), "for": condition}
    if parsed.has("--timeout"):
        try:
            body["timeout_s"] = parse_duration(parsed.last("--timeout", ""))
        except ValueError as error:
            raise SpecError(f"--timeout {error}") from None
    status = os.EX_OK
    for outcome in ask().stream("POST", "/v1/wait", body=body):
        print(render_outcome(outcome), flush=True)
        if not get_value(outcome, "ok"):
            status = _TIMED_OUT if outcome.get("timed_out") else FAILED
    return status
