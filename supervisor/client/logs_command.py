"""`mocker logs`: what jobs have printed last, and what they print."""

import os
from collections.abc import Iterator, Sequence

from mocker.isolation import SpecError

from ..options import Option, Parsed
from ..quantities import parse_duration
from ..stderr import write_line
from .answer_lines import AnswerLines
from .arguments import Command
from .client import Client
from .exchange import get_value
from .run import run
from .told_lines import LineText, Told, escape_steering, parse_told

COMMAND = Command(
    "logs",
    "[JOB...]",
    "Show what jobs have printed last, in the order in which it came.",
    (
        Option("-f --follow", "", "go on with what they print, until Ctrl-C"),
        Option("-n --tail", "COUNT|all", "only so many of the last lines of each (default: all)"),
        Option("--since", "DURATION", "only what came since so long ago, such as 10m"),
        Option("-t --timestamps", "", "show when each line came, in UTC"),
        Option("--json", "", "print what the supervisor answers, for programs"),
        Option("--truncate", "", "forget what JOB... printed until now instead"),
    ),
    more="""\
How many lines are kept depends on their length and on the number of jobs: up to 1 MB of each, all
of them together 12 MB. The rest is where the file of the jobs says.

Names stand before the lines, unless JOB is the name of a single one.

exit status:
  0  the lines were shown; with -f, the supervisor has ended
  1  no supervisor answers, or it is gone
  2  wrong usage
  4  there is no such job""",
)
_STDOUT = 1
_MOST_DIGITS = 15


def logs(words: Sequence[str]) -> int:
    """Carry out the words after `mocker logs` and return the exit status."""
    return run(COMMAND, words, _carry_out, reader_fd=_STDOUT)


async def _carry_out(parsed: Parsed, client: Client) -> int:
    if parsed.has("--truncate"):
        return await _truncate(parsed, client)
    asked = client.logs(
        *parsed.words,
        count=_read_count(parsed),
        since=_read_since(parsed),
        follow=parsed.has("--follow"),
    )
    async with client:
        if parsed.has("--json"):
            return await _print(asked)
        return await _show(parsed, await client.jobs(*parsed.words), asked)


async def _print(asked: AnswerLines) -> int:
    """Show lines as the supervisor tells them."""
    is_terminal = os.isatty(_STDOUT)
    async with asked as lines:
        while text := await lines.receive_text():
            _write(escape_steering(text) if is_terminal else text)
            if text.startswith(b'{"error":'):
                parse_told(text)
    return os.EX_OK


async def _show(parsed: Parsed, known: Sequence[Told], asked: AnswerLines) -> int:
    """Show lines of these jobs as people read them."""
    jobs = [str(get_value(job, "name")) for job in known]
    shown = LineText(
        jobs,
        with_names=len(jobs) > 1 or set(jobs) != set(parsed.words),  # there may be more soon
        with_time=parsed.has("--timestamps"),
        is_terminal=os.isatty(_STDOUT),
    )
    async with asked as lines:
        while text := await lines.receive_text():
            for told in _tell_lost(parse_told(text)):
                _write(shown.render(told))
    return os.EX_OK


async def _truncate(parsed: Parsed, client: Client) -> int:
    if not parsed.words:
        raise SpecError("--truncate needs JOB...")
    async with client:
        answer = await client.truncate_logs(*parsed.words)
    jobs = answer.get("jobs")
    for name in jobs if isinstance(jobs, list) else []:
        print(f"{name}: truncated")
    return os.EX_OK


def _read_count(parsed: Parsed) -> int | None:
    count = parsed.last("--tail", "all")
    if count == "all":
        return None
    if not (count.isascii() and count.isdecimal() and len(count) <= _MOST_DIGITS):
        raise SpecError(f"-n must be a number of lines or 'all', not {count!r}")
    return int(count)


def _read_since(parsed: Parsed) -> float | None:
    since = parsed.maybe("--since")
    try:
        return None if since is None else parse_duration(since)
    except ValueError as error:
        raise SpecError(f"--since {error}") from error


def _tell_lost(told: Sequence[Told]) -> Iterator[list[Told]]:
    """Yield lines, and say in between what was lost."""
    lines = list[Told]()
    for each in told:
        if "dropped" not in each:
            lines.append(each)
            continue
        yield lines
        lines = []
        reason = "they came faster than they were read"
        write_line(f"mocker logs: {each.get('job')}: {each['dropped']} lines left out: {reason}")
    yield lines


def _write(text: bytes) -> None:
    while text:
        text = text[os.write(_STDOUT, text) :]
