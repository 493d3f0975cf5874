"""Tables for people, and how times and states are written in them."""

from collections.abc import Iterable, Mapping, Sequence

from ..stderr import make_printable

_GAP = "  "
_FOREVER_S = 1e12  # nothing has gone on for so long


def render_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, a line a row, without blanks at the ends of lines."""
    lines = [head, *([make_printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(_GAP.join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def render_duration(seconds: float | None) -> str:
    """Return a time as docker has it, in its biggest two units: "4s", "3m12s", "2h5m", "6d3h"."""
    if seconds is None or not 0 <= seconds < _FOREVER_S:
        return "-"
    whole = int(seconds)
    for unit, size, smaller, part in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size}{unit}" + (f"{rest}{smaller}" if rest else "")
    return f"{whole}s"


def render_state(job: Mapping[str, object]) -> str:
    """Return the state of a job: "RUNNING", "RUNNING (paused)", or "-" if nobody tells.

    Of one that has ended badly, and is not restarted, it has the exit code or the signal as well.
    """
    state = str(job.get("state") or "-")
    if job.get("paused"):
        return f"{state} (paused)"
    if state == "EXITED" and job.get("is_well") is False and job.get("last_exit"):
        return f"{state} ({str(job['last_exit']).removeprefix('exit code ')})"
    return state


def render_last_exit(job: Mapping[str, object]) -> str:
    """Return how the last run of a job ended; "-" if none has."""
    last = str(job.get("last_exit") or "-")
    return f"{last} (OOMKilled)" if job.get("oom_killed") else last
