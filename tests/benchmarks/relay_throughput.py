"""How many lines a second get from jobs into logs, and how long one is on its way.

    python -m tests.benchmarks.relay_throughput [--lines N] [--jobs N] [--rounds N] [--json FILE]

Run it in the root of the repository with the interpreter of tests/run, as root or as an ordinary
user. Jobs are a C program that prints numbered lines of 100 bytes; see loggers.py for who carries
them, and log_flow.py for what is measured. Three questions:

- One job: lines a second, processor time of all processes but the job's own (journald's included),
  private memory at its peak, and whether each line is in the log once and in order. First with a
  write for each line, as programs do that log, then with one for 4 KiB, as those that pipe data.
- Many jobs at once, which share the lines between them. Without docker, which would take minutes.
- From the moment before a job writes a line until it can be read in the log, while another job of
  the same supervisor prints as much as it can. In a journal: until journald has it.

Logs are in /dev/shm if there is room: a disk would be the same for everybody, and slower. docker
alone has them where its daemon keeps them, if one answers; else root starts one for the run, whose
programs are downloaded once. The contestants take turns, in an order that is shuffled for each
round, so that whatever else the machine does hits all of them alike. Lines a second belong to the
machine: look at the ratios. Who is not installed is left out, but for circus, which is installed
for the run.
"""

import argparse
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from .log_flow import Flow, measure_flow, measure_latency
from .loggers import (
    Place,
    Prepare,
    prepare_carry,
    prepare_cat,
    prepare_circus,
    prepare_docker,
    prepare_mocker,
    prepare_s6_log,
    prepare_supervisord,
    prepare_systemd_cat,
)
from .start_latency import ObstacleError

RAW = "mocker-supervise, raw"
TEXT = "mocker-supervise, text"
JSON = "mocker-supervise, JSON"
JOURNALD = "mocker-supervise, journald"
SUPERVISORD = "supervisord, raw"
CIRCUS = "circus, raw"
S6 = "s6-log, timestamps"
DOCKER = "docker run, json-file"
SYSTEMD_CAT = "systemd-cat, journald"
CAT = "cat, raw"
CARRY = "C program, isolated, raw"

LOGGERS: dict[str, Prepare] = {
    RAW: partial(prepare_mocker, "raw"),
    TEXT: partial(prepare_mocker, "text"),
    JSON: partial(prepare_mocker, "json"),
    JOURNALD: partial(prepare_mocker, "journald"),
    SUPERVISORD: prepare_supervisord,
    CIRCUS: prepare_circus,
    S6: prepare_s6_log,
    DOCKER: prepare_docker,
    SYSTEMD_CAT: prepare_systemd_cat,
    CAT: prepare_cat,
    CARRY: prepare_carry,
}
OURS = (RAW, TEXT, JSON, JOURNALD)
SLOW = (JOURNALD, DOCKER, SYSTEMD_CAT)  # they get fewer lines: a rate is a rate
SLOW_SHARE = 10

# Who is compared with whom, and how many times as many lines a second it shall carry.
RATIOS = (
    (RAW, SUPERVISORD, 1.5),
    (JSON, DOCKER, 4.0),
    (JSON, SUPERVISORD, 0.5),
    (TEXT, SUPERVISORD, 0.6),
    (JOURNALD, SYSTEMD_CAT, 0.5),
    # What the kernel leaves to whoever isolates as mocker does, and reads what comes by a pipe.
    (CARRY, SUPERVISORD, None),
    (RAW, CARRY, None),
    (RAW, CAT, None),
    (TEXT, S6, None),
    (RAW, CIRCUS, None),
)
MAX_MEDIAN, MAX_P99 = 5.0, 50.0  # milliseconds

MAX_SECONDS = 250  # after which nothing new begins; fewer rounds have to do then
PERIOD_US = 2000  # between two lines whose time is taken
BYTES_OF_A_LINE = 400  # in the log that takes most
MIN_ROOM = 2**30  # bytes; for a flood of seconds


Result = TypeVar("Result")


@dataclass(frozen=True)
class Part:
    """A part of the benchmark.

    Attributes:
        title: Of its table.
        mark: Of its ratios; "" for the part that is to reach something.
        how: The jobs print; see `measure_flow`.
        jobs: How many there are at once.
        divisor: Of the lines of a contestant.
        until_s: Seconds from the beginning after which no further round begins.
    """

    title: str
    mark: str
    how: str
    jobs: int
    divisor: int
    until_s: float


class Report:
    """What was measured.

    Attributes:
        parts: Those of the benchmark, but for the latency.
        flows: What each round took, by part and contestant.
        latencies: Milliseconds of each line, by contestant.
        obstacles: What kept a contestant from running.
        logs: The directory of the logs.
    """

    def __init__(self, jobs: int) -> None:
        self.parts = (
            Part("one job, a line at a time", "", "lines", 1, 1, 105),
            Part("one job, 4 KiB at a time", ", 4 KiB at a time", "blocks", 1, 3, 150),
            Part(f"{jobs} jobs at once, a line at a time", f", {jobs} jobs", "lines", jobs, 3, 220),
        )
        self.flows: dict[str, dict[str, list[Flow]]] = {part.title: {} for part in self.parts}
        self.latencies: dict[str, list[float]] = {}
        self.obstacles: dict[str, str] = {}
        self.logs = Path()

    def rate(self, part: Part, name: str) -> float | None:
        """Return lines a second, of the round in the middle."""
        return median([flow.lines / flow.seconds for flow in self.flows[part.title].get(name, [])])

    def processor_s(self, part: Part, name: str) -> float | None:
        """Return the seconds of processor time for a million lines, of the round in the middle."""
        flows = self.flows[part.title].get(name, [])
        return median([flow.processor_s / flow.lines * 1e6 for flow in flows])

    def wrong(self, names: tuple[str, ...]) -> int:
        """Return how many lines of some loggers were lost, or are there twice or out of place."""
        return sum(
            flow.wrong
            for flows in self.flows.values()
            for name in names
            for flow in flows.get(name, ())
        )

    def percentile(self, name: str, percent: int) -> float | None:
        """Return the milliseconds that so many lines in a hundred were not longer on their way."""
        values = sorted(self.latencies.get(name, ()))
        return values[len(values) * percent // 100] if values else None

    def checks(self) -> list["Check"]:
        """Return what is looked at."""
        return [*self._check_rates(), *self._check_processor_time(), *self._check_latencies()]

    def _check_rates(self) -> list["Check"]:
        found = [
            Check(
                f"{shorten(name)} / {other}{part.mark}",
                self._ratio(part, name, other),
                at_least=None if part.mark else limit,
            )
            for part in self.parts
            for name, other, limit in RATIOS
            if part.jobs == 1 or other != DOCKER
        ]
        carried = any(map(self.flows[self.parts[0].title].get, OURS))
        wrong = self.wrong(OURS) if carried else None
        return [*found, Check("lines of mocker's lost, twice or out of place", wrong, at_most=0)]

    def _check_processor_time(self) -> list["Check"]:
        found: list[Check] = []
        for name, other in ((RAW, SUPERVISORD), (JSON, DOCKER), (JOURNALD, SYSTEMD_CAT)):
            ours, theirs = (self.processor_s(self.parts[0], each) for each in (name, other))
            ratio = ours / theirs if ours and theirs else None
            found.append(Check(f"processor time: {shorten(name)} / {other}", ratio))
        return found

    def _check_latencies(self) -> list["Check"]:
        return [
            Check(
                f"milliseconds, {word}: {shorten(name)}",
                self.percentile(name, percent),
                at_most=limit,
            )
            for name in OURS
            for word, percent, limit in (("median", 50, MAX_MEDIAN), ("p99", 99, MAX_P99))
        ]

    def _ratio(self, part: Part, name: str, other: str) -> float | None:
        first, second = self.rate(part, name), self.rate(part, other)
        return first / second if first and second else None


@dataclass(frozen=True)
class Check:
    """A number that is looked at, and what it shall be."""

    of: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None

    def render(self) -> str:
        if self.value is None:
            return f"{self.of:56}{'-':>8}"
        limits = "".join(
            f"{'' if limit is None else f'{limit:.1f}':>10}"
            for limit in (self.at_least, self.at_most)
        )
        line = f"{self.of:56}{self.value:8.2f}{limits}"
        if self.at_least is None and self.at_most is None:
            return line.rstrip()
        low = self.at_least is not None and self.value < self.at_least
        high = self.at_most is not None and self.value > self.at_most
        return f"{line}  {'MISSED' if low or high else 'reached'}"


def main() -> None:
    """Measure and print."""
    options = parse_options()
    report = Report(options.jobs)
    try:
        with ExitStack() as stack:
            place = Place(stack, max(MIN_ROOM, options.lines * BYTES_OF_A_LINE))
            report.logs = place.logs.parent
            measure_all(place, report, options)
    except ObstacleError as error:
        sys.exit(f"relay_throughput: {error}")
    sys.stdout.write(render_table(report))
    if options.json:
        options.json.write_text(json.dumps(render_json(report), indent=1))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how lines get into logs.")
    add = parser.add_argument
    add("--lines", type=int, default=3_000_000, help="of a contestant (default: %(default)s)")
    add("--jobs", type=int, default=100, help="that print at once (default: %(default)s)")
    add("--ticks", type=int, default=300, help="lines whose time is taken (default: %(default)s)")
    add("--rounds", type=int, default=3, help="of all contestants (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write all that was measured to FILE")
    return parser.parse_args()


def measure_all(place: Place, report: Report, options: argparse.Namespace) -> None:
    """Let everybody carry lines, part by part, as long as there is time."""
    begin = time.monotonic()
    contestants = dict(LOGGERS)

    def carry(part: Part, name: str) -> list[Flow]:
        if name == DOCKER and part.jobs > 1:
            return []
        lines = options.lines // SLOW_SHARE if name in SLOW else options.lines
        each = max(1, lines // part.divisor // part.jobs)
        return [measure_flow(place, contestants[name], part.how, part.jobs, each)]

    def wait(name: str) -> list[float]:
        return measure_latency(place, contestants[name], options.ticks, PERIOD_US)

    def take_turns(
        measure: Callable[[str], list[Result]], results: dict[str, list[Result]], until_s: float
    ) -> None:
        for turn in range(options.rounds):
            if turn and time.monotonic() > begin + until_s:
                return
            for name in random.sample(list(contestants), len(contestants)):
                try:
                    results.setdefault(name, []).extend(measure(name))
                except ObstacleError as obstacle:
                    report.obstacles[name] = str(obstacle)
                    del contestants[name], results[name]

    for part in report.parts:
        take_turns(partial(carry, part), report.flows[part.title], part.until_s)
    take_turns(wait, report.latencies, MAX_SECONDS)


def shorten(name: str) -> str:
    return name.removeprefix("mocker-supervise, ")


def median(values: list[float]) -> float | None:
    return sorted(values)[len(values) // 2] if values else None


def render_table(report: Report) -> str:
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    system = f"Linux {platform.release()}, {os.cpu_count()} processors"
    lines = [f"Python {platform.python_version()}, {system}, as {who}; logs in {report.logs}"]
    for part in report.parts:
        lines += [
            "",
            f"{part.title:36}{'lines/s':>12}{'CPU s':>9}{'MB':>9}{'biggest':>9}{'lines':>10}"
            f"{'wrong':>9}{'runs':>6}",
        ]
        lines += [render_row(report, part, name) for name in LOGGERS]
    lines += [
        "",
        f"{'milliseconds until in the log':36}{'median':>12}{'p99':>9}{'most':>9}{'lines':>10}",
    ]
    for name in LOGGERS:
        if values := report.latencies.get(name):
            middle, high = report.percentile(name, 50), report.percentile(name, 99)
            lines.append(f"{name:36}{middle:12.2f}{high:9.2f}{max(values):9.2f}{len(values):10}")
        else:
            lines.append(f"{name:40}{report.obstacles.get(name, '-')}")
    title = "mocker's lines a second / another's, or what it says"
    lines += ["", f"{title:56}{'is':>8}{'at least':>10}{'at most':>10}"]
    lines += [check.render() for check in report.checks()]
    flows = [flow for part in report.flows.values() for each in part.values() for flow in each]
    source = max((flow.memory_source for flow in flows), default="nothing")
    lines += [
        "",
        "CPU s: of a million lines, of all processes but the jobs' own.",
        "Wrong: lines that are lost, there twice, or out of place.",
        f"MB: private memory at its peak, and that of the biggest process; from {source}.",
    ]
    return "\n".join(lines) + "\n"


def render_row(report: Report, part: Part, name: str) -> str:
    flows = report.flows[part.title].get(name)
    if not flows:
        return f"{name:40}{report.obstacles.get(name, '-')}"
    memory, biggest = (
        median([getattr(flow, name) / 2**20 for flow in flows])
        for name in ("private_bytes", "biggest_bytes")
    )
    return (
        f"{name:36}{report.rate(part, name):12,.0f}{report.processor_s(part, name):9.2f}"
        f"{memory:9.1f}{biggest:9.1f}{flows[0].lines:10}"
        f"{max(flow.wrong for flow in flows):9}{len(flows):6}"
    )


def render_json(report: Report) -> dict[str, object]:
    return {
        "flows": {
            title: {name: list(map(asdict, each)) for name, each in flows.items()}
            for title, flows in report.flows.items()
        },
        "milliseconds": report.latencies,
        "checks": list(map(asdict, report.checks())),
        "not_measured": report.obstacles,
    }


if __name__ == "__main__":
    main()
