"""How long it takes to ask a supervisor: `mocker ps` with one job, with many, and a bare Python.

    python -m tests.benchmarks.control_latency [--jobs N] [--count N] [--json FILE]

Run it in the root of the repository with the interpreter that mocker is installed for, as root or
as an ordinary user. A supervisor runs with a job of `sleep`, and then another one with many; both
have been asked before, so that the part that answers is loaded. But what their jobs use they look
at anew for each run, as they do for a person: a pause goes before it, and before all others. That
look is at all processes of the machine, which is why the one job is not measured beside the many.

The contestants take turns, in an order that is shuffled for each round, so that whatever else the
machine does hits all of them alike. What one job may cost is told in starts of an interpreter that
does nothing; milliseconds belong to the machine.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from mocker.supervisor.control.figures import _FRESH_S

from .process_use import leaving_nothing
from .start_latency import (
    ENVIRONMENT,
    PYTHON,
    WARM_UP,
    Measure,
    ObstacleError,
    Results,
    find_beside_python,
    render_ratio,
    run_unmeasured,
    take_turns,
    time_program,
)

ONE = "mocker ps, 1 job"
MANY = "mocker ps, many jobs"

PYTHONS, MORE_MS = 2, 30  # what it may take with one job: two starts of Python, and so much more
MANY_MS = 150
PATIENCE = 60  # seconds for all jobs to run
_PAUSE_S = _FRESH_S + 0.1
_LOOK_S = 0.01  # between two looks whether a supervisor listens


class Report:
    """What was measured.

    Attributes:
        jobs: How many the second supervisor has.
        results: Milliseconds of each contestant.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.results = Results()

    def checks(self) -> list[tuple[str, float | None, float | None]]:
        """Return what is looked at, how many milliseconds it is, and how many it may be."""
        one, many, python = map(self.results.median, (ONE, MANY, PYTHON))
        allowed = None if python is None else PYTHONS * python + MORE_MS
        return [
            (f"{ONE}; at most {PYTHONS} x {PYTHON} + {MORE_MS}", one, allowed),
            (f"mocker ps, {self.jobs} jobs", many, MANY_MS),
        ]


def main() -> None:
    """Measure and print."""
    options = parse_options()
    report = Report(options.jobs)
    try:
        with ExitStack() as stack:
            measure(stack, report, options.count)
    except ObstacleError as error:
        sys.exit(f"control_latency: {error}")
    sys.stdout.write(render_table(report))
    if options.json:
        options.json.write_text(json.dumps(render_json(report), indent=1))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how long it takes to ask a supervisor.")
    add = parser.add_argument
    add("--jobs", type=int, default=500, help="of one supervisor (default: %(default)s)")
    add("--count", type=int, default=30, help="runs of each contestant (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write all that was measured to FILE")
    return parser.parse_args()


def measure(stack: ExitStack, report: Report, count: int) -> None:
    """Start one supervisor, then the other, and let everybody run in turns."""
    directory = Path(stack.enter_context(TemporaryDirectory(prefix="control-latency-")))
    stack.enter_context(leaving_nothing())
    one = supervise(directory, "one", 1)
    contestants = {
        ONE: lambda: prepare_ps(one),
        PYTHON: lambda: prepare(sys.executable, "-c", "pass"),
    }
    take_turns(contestants, report.results, warm_up=WARM_UP, count=count)
    many = supervise(directory, "many", report.jobs)
    take_turns({MANY: lambda: prepare_ps(many)}, report.results, warm_up=WARM_UP, count=count)


def supervise(directory: Path, name: str, jobs: int) -> str:
    """Start a supervisor, wait until all of its jobs run, and return the path of its socket."""
    file = directory / f"{name}.toml"
    entries = [f'[jobs.sleep-{number}]\ncommand = ["sleep", "3600"]\n' for number in range(jobs)]
    file.write_text(f'[supervisor]\nname = "{name}"\n{"".join(entries)}')
    process = subprocess.Popen(
        [find_beside_python("mocker-supervise"), str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**ENVIRONMENT, "XDG_RUNTIME_DIR": str(directory)},
    )
    socket = directory / "mocker" / f"{name}.sock"
    deadline = time.monotonic() + PATIENCE
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ObstacleError("mocker-supervise does not run here")
        time.sleep(_LOOK_S)
    timeout = ["--timeout", f"{PATIENCE}s"]
    run_unmeasured(find_beside_python("mocker"), "wait", "all", *timeout, "-s", str(socket))
    return str(socket)


def prepare_ps(socket: str) -> Measure:
    return prepare(find_beside_python("mocker"), "ps", "-s", socket)


def prepare(*argv: str) -> Measure:
    """Return how to time a program after a pause, without that."""
    run = time_program(*argv)

    def run_after_pause() -> float:
        time.sleep(_PAUSE_S)
        return run()

    return run_after_pause


def render_table(report: Report) -> str:
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    system = f"Linux {platform.release()}, {os.cpu_count()} processors"
    lines = [
        f"Python {platform.python_version()}, {system}, as {who}; many jobs are {report.jobs}",
        "",
        f"{'milliseconds':40}{'median':>10}{'lowest':>10}{'runs':>8}",
    ]
    for name in (ONE, MANY, PYTHON):
        if times := report.results.times.get(name):
            median = report.results.median(name)
            lines.append(f"{name:40}{median:10.2f}{min(times):10.2f}{len(times):8}")
        else:
            lines.append(f"{name:44}{report.results.obstacles[name]}")
    lines += ["", f"{'milliseconds':56}{'is':>8}{'at most':>10}"]
    lines += [render_ratio(*check) for check in report.checks()]
    return "\n".join(lines) + "\n"


def render_json(report: Report) -> dict[str, object]:
    return {
        "jobs": report.jobs,
        "milliseconds": report.results.times,
        "medians": {name: report.results.median(name) for name in report.results.times},
        "checks": [
            {"of": name, "is": value, "at_most": limit} for name, value, limit in report.checks()
        ],
        "not_measured": report.results.obstacles,
    }


if __name__ == "__main__":
    main()
