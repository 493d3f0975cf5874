"""Tables for people, and how times are written in them."""

from collections.abc import Iterable, Sequence

from ..stderr import make_printable

_GAP = "  "


def render_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, a line a row, without blanks at the ends of lines."""
    lines = [head, *([make_printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(_GAP.join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def render_duration(seconds: float | None) -> str:
    """Return a time as docker has it, in its biggest two units: "4s", "3m12s", "2h5m", "6d3h"."""
    if seconds is None:
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
