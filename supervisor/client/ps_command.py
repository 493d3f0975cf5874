"""`mocker ps`: the jobs of a supervisor, and whether all is well."""

import json
import os
from collections.abc import Mapping, Sequence

from mocker.isolation import SpecError

from ..options import Option, Parsed
from .amounts import render_percent, render_size
from .arguments import Command
from .run import Ask, run
from .tables import render_duration, render_table

NOT_ALL_WELL = 3
COMMAND = Command(
    "ps",
    "[JOB...]",
    "Show jobs: names, patterns such as 'web-*', or all.",
    (
        Option("-o --output", "wide", "show the command and the reason too"),
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
_WIDE = ("LAST EXIT", "REASON", "COMMAND")


def ps(words: Sequence[str]) -> int:
    """Carry out the words after `mocker ps` and return the exit status."""
    return run(COMMAND, words, _show)


def _show(parsed: Parsed, ask: Ask) -> int:
    is_wide = parsed.maybe("--output") == "wide"
    if parsed.maybe("--output") not in {None, "wide"}:
        raise SpecError(f"-o must be 'wide', not {parsed.maybe('--output')!r}")
    query = [*(("name", name) for name in parsed.words), ("stats", "1")]
    answer = ask().ask("GET", "/v1/jobs", query)
    jobs = answer["jobs"]
    if not isinstance(jobs, list):
        raise TypeError("the answer has no list of jobs")
    if parsed.has("--json"):
        print(json.dumps(answer))
    else:
        head = (*_HEAD, *_WIDE) if is_wide else _HEAD
        print(render_table(head, [_make_row(job, is_wide=is_wide) for job in jobs]), end="")
    return os.EX_OK if all(job["is_well"] for job in jobs) else NOT_ALL_WELL


def _make_row(job: Mapping[str, object], *, is_wide: bool) -> list[str]:
    uptime = job["uptime_s"]
    row = [
        str(job["name"]),
        str(job["state"]),
        _show_value(job["pid"]),
        render_duration(uptime) if isinstance(uptime, int | float) else "-",
        str(job["restarts"]),
        _show_value(job["health"]),
        render_percent(job.get("cpu_percent")),
        render_size(job.get("memory_bytes")),
    ]
    if is_wide:
        command = job["command"]
        words = command if isinstance(command, list) else []
        row += [_show_value(job["last_exit"]), _show_value(job["reason"]), " ".join(words)]
    return row


def _show_value(value: object) -> str:
    return "-" if value in {None, ""} else str(value)
