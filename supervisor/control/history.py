"""The last lines of several jobs as one text, in the order in which they came.

Pure, and for a thread: there may be many megabytes of them.
"""

import heapq
from collections.abc import Iterable, Sequence

import attrs

from ..feeds import render_lines
from ..lines import Lines


def render_history(jobs: Iterable[Sequence[Lines]], count: int | None, since_ns: int) -> bytes:
    """Return lines as who asks a supervisor gets them.

    Args:
        jobs: Of each job all that is kept, the latest last.
        count: How many of the last lines of each; None for all.
        since_ns: The oldest are from then.
    """
    chosen = [_choose(batches, count, since_ns) for batches in jobs]
    # By time alone the lines of one job might change places, if somebody sets the clock back.
    merged = heapq.merge(*chosen, key=lambda lines: lines.time_ns)
    return b"".join(map(render_lines, merged))


def _choose(batches: Sequence[Lines], count: int | None, since_ns: int) -> list[Lines]:
    """Return the last lines, the latest last."""
    chosen, missing = list[Lines](), count
    for lines in reversed(batches):
        if missing == 0 or lines.time_ns < since_ns:
            break
        number = lines.text.count(b"\n")
        if missing is not None and number > missing:
            lines = _keep_last(lines, number, missing)  # noqa: PLW2901
            number = missing
        chosen.append(lines)
        missing = None if missing is None else missing - number
    return chosen[::-1]


def _keep_last(lines: Lines, number: int, count: int) -> Lines:
    """Return the last of so many lines."""
    text = b"\n".join(lines.text[:-1].rsplit(b"\n", count)[-count:]) + b"\n"
    gone = number - count
    partial = tuple(index - gone for index in lines.partial if index >= gone)
    return attrs.evolve(lines, text=text, partial=partial, continues=False)
