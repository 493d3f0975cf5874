"""Run the probes and print a table: python -m tests.escape [PROBE...].

As root or as an ordinary user. All of them are shown, or those that are named; these take others
along that are tried in the same container.
"""

import os
import sys

from .battery import Battery, list_passes, list_probes, open_battery, with_wall, without_wall
from .probe import PROBES, ROOT, USER, Probe

HEAD = ("probe", "tries to", "wall", "as root inside", "as a user", "taken away by", "then")


def main() -> None:
    """Print a table in Markdown; exit with 1 if a probe shows something else than it should."""
    names = sys.argv[1:] or [probe.name for probe in list_probes()]
    unknown = ", ".join(name for name in names if name not in PROBES)
    if unknown:
        sys.exit(f"there is no probe {unknown}; without any name, all are run and shown")
    with open_battery() as battery:
        rows = [make_row(battery, PROBES[name]) for name in names]
    for row in (HEAD, ["---"] * len(HEAD), *rows):
        sys.stdout.write(f"| {' | '.join(row)} |\n")
    sys.exit(any(" !" in cell for row in rows for cell in row))


def make_row(battery: Battery, probe: Probe) -> list[str]:
    """Return the cells for a probe; a verdict that should not be has an exclamation mark."""
    denials = [
        mark(battery.judge(probe, with_wall(probe, whom)), probe.denied_to(whom))
        if probe.denied_to(whom)
        else "-"
        for whom in (ROOT, USER)
    ]
    whom = [w for p, w in list_passes(as_root=os.geteuid() == 0) if p is probe]
    verdicts = [mark(battery.judge(probe, without_wall(probe, w)), probe.then) for w in whom]
    then = ", ".join(dict.fromkeys(verdicts)) or "for root to try"
    return [probe.name, probe.tries, probe.wall.name, *denials, probe.wall.away, then]


def mark(verdict: str, expected: tuple[str, ...]) -> str:
    """Return a verdict, with an exclamation mark if it is none of those that are expected."""
    return verdict if verdict in expected else f"{verdict} !"


if __name__ == "__main__":
    main()
