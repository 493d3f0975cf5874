"""What it costs a job that many follow what it prints.

    python -m tests.benchmarks.follow_cost [--readers N] [--rate N] [--seconds N] [--json FILE]

Run it in the root of the repository with the interpreter of tests/run, as root or as an ordinary
user. A job, which is a C program, prints lines of 100 bytes, one at a time and so many in a second,
into a file. It is compared how long that takes with nobody else and with `mocker logs -f` in many
processes, whose output nobody keeps but that of one: how many of the lines it got is told as well.
The others may lose some, the file none.

Both take turns, so that whatever else the machine does hits both alike. Logs are in /dev/shm if
there is room. Processor time is that of the supervisor and of the readers.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from .log_flow import Flow, measure_flow
from .loggers import Place, prepare_mocker
from .start_latency import ENVIRONMENT, ObstacleError, find_beside_python, render_ratio

MOST_RATIO = 1.1
MIN_ROOM = 2**29  # bytes
PATIENCE = 60  # seconds for readers to be there
_SETTLE_S = 0.5  # in which no more of them come and go
_LOOK_S = 0.05


@dataclass
class Report:
    """What was measured.

    Attributes:
        readers: How many there were.
        rate: Lines that the job printed in a second, if it could.
        alone: What it took without readers, by round.
        followed: What it took with them.
        got: Lines that one of the readers got.
    """

    readers: int
    rate: int
    alone: list[Flow] = field(default_factory=list)
    followed: list[Flow] = field(default_factory=list)
    got: list[int] = field(default_factory=list)

    def checks(self) -> list[tuple[str, float | None, float | None]]:
        """Return what is looked at, what it is, and what it may be at most."""
        ratio = median_seconds(self.followed) / median_seconds(self.alone)
        wrong = sum(flow.wrong for flow in self.alone + self.followed)
        return [
            (f"seconds: with {self.readers} readers / alone", ratio, MOST_RATIO),
            ("lines of the file lost, twice or out of place", wrong, 0),
        ]


def main() -> None:
    """Measure and print."""
    options = parse_options()
    report = Report(options.readers, options.rate)
    lines = int(options.rate * options.seconds)
    try:
        with ExitStack() as stack:
            place = Place(stack, MIN_ROOM)
            for _ in range(options.rounds):
                measure(place, report, lines)
    except ObstacleError as error:
        sys.exit(f"follow_cost: {error}")
    sys.stdout.write(render_table(report))
    if options.json:
        options.json.write_text(json.dumps(render_json(report), indent=1))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what it costs to be followed.")
    add = parser.add_argument
    add("--readers", type=int, default=50, help="processes (default: %(default)s)")
    add("--rate", type=int, default=100_000, help="lines a second (default: %(default)s)")
    add("--seconds", type=float, default=5, help="of each round (default: %(default)s)")
    add("--rounds", type=int, default=3, help="of both (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write all that was measured to FILE")
    return parser.parse_args()


def measure(place: Place, report: Report, lines: int) -> None:
    """Measure one round of both."""
    prepare = partial(prepare_mocker, "raw")
    how = f"paced {report.rate}"
    report.alone.append(measure_flow(place, prepare, how, 1, lines))
    kept = place.logs / "followed"

    @contextmanager
    def follow(directory: Path, supervisor: int) -> Iterator[None]:
        with ExitStack() as stack, kept.open("wb") as output:
            before = count_descriptors(supervisor)
            outputs = [output.fileno(), *[subprocess.DEVNULL] * (report.readers - 1)]
            for each in outputs:
                start_reader(stack, directory, each)
            wait_connected(supervisor, before + report.readers)
            yield

    report.followed.append(measure_flow(place, prepare, how, 1, lines, follow))
    with kept.open("rb") as file:
        report.got.append(sum(1 for _ in file))
    kept.unlink()


def start_reader(stack: ExitStack, directory: Path, output: int) -> None:
    reader = subprocess.Popen(
        [find_beside_python("mocker"), "logs", "-f", "all"],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.DEVNULL,
        env={**ENVIRONMENT, "XDG_RUNTIME_DIR": str(directory)},
    )
    stack.callback(reader.wait)
    stack.callback(reader.kill)


def count_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def wait_connected(supervisor: int, count: int) -> None:
    """Wait until a supervisor has so many descriptors, and that does not change any more."""
    deadline = time.monotonic() + PATIENCE
    since = time.monotonic()
    while time.monotonic() - since < _SETTLE_S:
        if time.monotonic() > deadline:
            raise ObstacleError(f"the readers are not there after {PATIENCE} s")
        time.sleep(_LOOK_S)
        if count_descriptors(supervisor) < count:
            since = time.monotonic()


def median_seconds(flows: list[Flow]) -> float:
    return sorted(flow.seconds for flow in flows)[len(flows) // 2]


def render_table(report: Report) -> str:
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    system = f"Linux {platform.release()}, {os.cpu_count()} processors"
    lines = [
        f"Python {platform.python_version()}, {system}, as {who}",
        "",
        f"{f'{report.rate} lines a second':36}{'seconds':>9}{'CPU s':>9}{'lines':>10}{'got':>10}"
        f"{'runs':>6}",
    ]
    for name, flows in (("alone", report.alone), (f"{report.readers} readers", report.followed)):
        flow = sorted(flows, key=lambda each: each.seconds)[len(flows) // 2]
        got = max(report.got) if flows is report.followed else "-"
        lines.append(
            f"{name:36}{flow.seconds:9.2f}{flow.processor_s:9.2f}{flow.lines:10}{got:>10}"
            f"{len(flows):6}"
        )
    lines += ["", f"{'':56}{'is':>8}{'at most':>10}"]
    lines += [render_ratio(*check) for check in report.checks()]
    return "\n".join(lines) + "\n"


def render_json(report: Report) -> dict[str, object]:
    return {
        "readers": report.readers,
        "alone": list(map(asdict, report.alone)),
        "followed": list(map(asdict, report.followed)),
        "got": report.got,
        "checks": [
            {"of": name, "is": value, "at_most": limit} for name, value, limit in report.checks()
        ],
    }


if __name__ == "__main__":
    main()
