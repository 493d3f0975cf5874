"""`mocker stats`: what the jobs of a supervisor use, and have printed."""

import json
import os
from collections.abc import Mapping, Sequence

from ..options import Option, Parsed
from . import resources
from .amounts import render_percent, render_size
from .arguments import Command
from .client import Client
from .exchange import get_value, list_objects
from .run import run
from .tables import render_duration, render_table

COMMAND = Command(
    "stats",
    "[JOB...]",
    "Show what jobs use: names, patterns such as 'web-*', or all.",
    (Option("--json", "", "print what the supervisor answers, for programs"),),
    more="""\
CPU is the share of one CPU since somebody last looked, or else since the job was started. MEM is
what its processes have in memory; what several of them share counts for each. Of a job that has a
cgroup, such as for its limits, MEM is what counts for those, PROCESSES are its threads, and
PRESSURE is the share of the last ten seconds in which something of it had to wait for a CPU, a disk
or memory, where the kernel tells. BYTES and LINES are what it has printed since the supervisor
began. Of a job that has printed more than 16 MB in a second there were more LINES, as a "+" behind
them says: the others of that second are not counted.

exit status:
  0  they are shown
  1  no supervisor answers
  2  wrong usage
  4  there is no such job""",
)
_HEAD = (
    *("NAME", "CPU", "CPU TIME", "MEM", "PROCESSES", "PRESSURE"),
    *("BYTES", "LINES", "RESTARTS"),
)


def stats(words: Sequence[str]) -> int:
    """Carry out the words after `mocker stats` and return the exit status."""
    return run(COMMAND, words, _show)


async def _show(parsed: Parsed, client: Client) -> int:
    async with client:
        answer = await client.ask(*resources.list_figures(parsed.words))
    jobs = list_objects(answer, "jobs")
    if parsed.has("--json"):
        print(json.dumps(answer))
    else:
        print(render_table(_HEAD, [_make_row(job) for job in jobs]), end="")
    return os.EX_OK


def _make_row(job: Mapping[str, object]) -> list[str]:
    """Return the cells of a job; what a supervisor of another version does not tell is a "-"."""
    cpu_s = job.get("cpu_s")
    return [
        str(get_value(job, "name")),
        render_percent(job.get("cpu_percent")),
        render_duration(cpu_s if isinstance(cpu_s, int | float) else None),
        _show_memory(job),
        _show_count(job.get("processes")),
        _show_pressure(job.get("pressure")),
        render_size(job.get("output_bytes")),
        _show_lines(job),
        _show_count(job.get("restarts")),
    ]


def _show_memory(job: Mapping[str, object]) -> str:
    """Return what it has, and what it may have, if that is limited."""
    has, may = job.get("memory_bytes"), job.get("memory_limit_bytes")
    return render_size(has) if may is None else f"{render_size(has)}/{render_size(may)}"


def _show_pressure(pressure: object) -> str:
    """Return for how much of the time it had to wait, and for what."""
    shares = pressure.items() if isinstance(pressure, dict) else ()
    return ", ".join(f"{kind} {render_percent(share)}" for kind, share in shares) or "-"


def _show_lines(job: Mapping[str, object]) -> str:
    """Return how many lines it has printed, or how many at least."""
    return _show_count(job.get("output_lines")) + "+" * (job.get("output_lines_exact") is False)


def _show_count(count: object) -> str:
    return "-" if count is None else str(count)
