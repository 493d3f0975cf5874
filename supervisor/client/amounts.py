"""How amounts are written in tables."""

_STEP = 1024


def render_size(size: object) -> str:
    """Return a number of bytes with a unit, as top(1) has it: "812", "3.4K", "12.0M", "1.5G"."""
    if not isinstance(size, int | float):
        return "-"
    for unit in ("", "K", "M", "G"):
        if size < _STEP:
            return f"{size:.1f}{unit}" if unit else str(size)
        size /= _STEP
    return f"{size:.1f}T"


def render_percent(percent: object) -> str:
    """Return a share of one CPU: "0.3%", "180.0%"."""
    return f"{percent:.1f}%" if isinstance(percent, int | float) else "-"
