"""`mocker ps`: the jobs of a supervisor, and whether all is well."""

import json
import os
import time
from collections.abc import Mapping, Sequence

from mocker.isolation import SpecError

from ..options import Option, Parsed
from . import resources
from .amounts import render_percent, render_size
from .arguments import Command
from .client import Client
from .exchange import get_value, list_objects
from .run import run
from .tables import render_duration, render_last_exit, render_state, render_table

NOT_ALL_WELL = 3
COMMAND = Command(
    "ps",
    "[JOB...]",
    "Show jobs: names, patterns such as 'web-*', or all.",
    (
        Option("-o --output", "wide", "show processes, the reason and the command too"),
        Option("-q --quiet", "", "print names only"),
        Option("-w --watch", "", "look again each second, until Ctrl-C"),
        Option("--json", "", "print what the supervisor answers, for programs"),
    ),
    more="""\
exit status:
  0  all of them run, wait for their time, or have ended well
  1  no supervisor answers
  2  wrong usage
  3  some do not
  4  there is no such job""",
)
_HEAD = ("NAME", "STATE", "PID", "UPTIME", "RESTARTS", "HEALTH", "CPU", "MEM")
_WIDE = ("PROCESSES", "LAST EXIT", "REASON", "COMMAND")
_PAUSE_S = 1.0  # between two looks
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\033[H", "\033[K", "\033[J"


def ps(words: Sequence[str]) -> int:
    """Carry out the words after `mocker ps` and return the exit status."""
    return run(COMMAND, words, _carry_out)


async def _carry_out(parsed: Parsed, client: Client) -> int:
    if parsed.maybe("--output") not in {None, "wide"}:
        raise SpecError(f"-o must be 'wide', not {parsed.maybe('--output')!r}")
    if not parsed.has("--watch"):
        text, status = await _look(parsed, client)
        print(text, end="")
        return status
    # Only a table is drawn over itself; what a program reads goes on.
    draws = os.isatty(1) and not parsed.has("--json") and not parsed.has("--quiet")
    while True:
        text, _ = await _look(parsed, client)
        if draws:
            size = os.get_terminal_size(1)
            text = _draw(text, size.columns, size.lines)
        print(text, end="", flush=True)
        time.sleep(_PAUSE_S)  # noqa: ASYNC251 - nobody else has to go on


async def _look(parsed: Parsed, client: Client) -> tuple[str, int]:
    """Return what is shown of the jobs, and the exit status."""
    request = resources.list_jobs(parsed.words, stats=not parsed.has("--quiet"))
    async with client:
        answer = await client.ask(*request)
    jobs = list_objects(answer, "jobs")
    status = os.EX_OK if all(get_value(job, "is_well") for job in jobs) else NOT_ALL_WELL
    if parsed.has("--json"):
        return json.dumps(answer) + "\n", status
    if parsed.has("--quiet"):
        return "".join(f"{get_value(job, 'name')}\n" for job in jobs), status
    is_wide = parsed.has("--output")
    head = (*_HEAD, *_WIDE) if is_wide else _HEAD
    return render_table(head, [_make_row(job, is_wide=is_wide) for job in jobs]), status


def _draw(text: str, columns: int, rows: int) -> str:
    """Return a table as it is drawn over the one before, cut to the size of the terminal.

    The screen is not emptied before: that would flicker.
    """
    # A size of 0 by 0 is that of a terminal that does not know.
    most = max(rows - 1, 1) if rows else None  # the last row is for what comes afterwards
    lines = [line[: columns or None] for line in text.splitlines()[:most]]
    return _HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_BELOW


def _make_row(job: Mapping[str, object], *, is_wide: bool) -> list[str]:
    """Return the cells of a job; what a supervisor of another version does not tell is a "-"."""
    uptime = job.get("uptime_s")
    row = [
        str(get_value(job, "name")),
        render_state(job),
        _show_value(job.get("pid")),
        render_duration(uptime if isinstance(uptime, int | float) else None),
        _show_value(job.get("restarts")),
        _show_value(job.get("health")),
        render_percent(job.get("cpu_percent")),
        render_size(job.get("memory_bytes")),
    ]
    if is_wide:
        command = job.get("command")
        words = " ".join(map(str, command)) if isinstance(command, list) else ""
        row += [
            _show_value(job.get("processes")),
            render_last_exit(job),
            _show_value(job.get("reason")),
            words,
        ]
    return row


def _show_value(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
