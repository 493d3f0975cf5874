"""How much it takes to keep many jobs alive: mocker-supervise, supervisord, s6, and a C program.

    python -m tests.benchmarks.supervise_scale [--jobs N] [--more N ...] [--json FILE]

Run it in the root of the repository with the interpreter that mocker is installed for, as root or
as an ordinary user. Three questions:

- Many jobs of `sleep`: seconds until all run and until all are gone, private memory of all
  processes together, and processor time while nothing happens. mocker-supervise isolates each job;
  supervisord and s6-svscan do not; the C program makes the system calls of mocker's containers and
  nothing else. See keepers.py for what exactly is compared.
- Still more jobs of mocker's alone.
- From SIGKILL of a job's command to the first instruction of its next run, without any backoff,
  beside a start from a warm process, from the call until nothing of the container is left.

The contestants take turns, in an order that is shuffled for each round, so that whatever else the
machine does hits all of them alike. Seconds belong to the machine: look at the ratios. Who is not
installed is left out.
"""

import argparse
import json
import os
import platform
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from mocker.isolation import IsolationError

from .keepers import (
    FLOORS,
    Keeper,
    Use,
    measure,
    prepare_floor,
    prepare_floors,
    prepare_mocker,
    prepare_s6,
    prepare_supervisord,
)
from .process_use import leaving_nothing, list_children
from .start_latency import (
    ENVIRONMENT,
    FLOOR_ALIVE,
    FLOOR_SERVED,
    SERVER,
    TRUE,
    WARM_UP,
    Measure,
    ObstacleError,
    Results,
    Setting,
    check_descriptors,
    find,
    find_beside_python,
    prepare_warm_floor,
    render_ratio,
    run_unmeasured,
    take_turns,
    time_container,
)

MOCKER = "mocker-supervise"
SUPERVISORD = "supervisord, not isolated"
S6 = "s6-svscan, not isolated"
ALL_AT_ONCE = f"C program, {FLOORS} at once"
RESTART = "restart of a job"

MAX_SECONDS = 150  # after which nothing new begins; fewer rounds have to do then
PATIENCE = 20  # seconds for a job to be restarted

Prepare = Callable[[Path, int], Keeper]


class Report:
    """What was measured.

    Attributes:
        jobs: How many were kept by each contestant.
        uses: What each round took, by contestant.
        more: What it took mocker to keep more jobs, by their number.
        obstacles: What kept a contestant from running.
        warm: Restarts, and what they are compared with.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.uses: dict[str, list[Use]] = {}
        self.more: dict[int, Use] = {}
        self.obstacles: dict[str, str] = {}
        self.warm = Results()

    def median(self, name: str, quantity: str) -> float | None:
        """Return the value of the round in the middle."""
        values = [getattr(use, quantity) for use in self.uses.get(name, ())]
        values = sorted(value for value in values if value is not None)
        return values[len(values) // 2] if values else None

    def checks(self) -> list[tuple[str, float | None, float | None]]:
        """Return what is looked at, what it is, and what it may be at most."""
        memory = self.median(MOCKER, "private_bytes")
        idle = self.median(MOCKER, "idle_share")
        return [
            (f"start: {MOCKER} / {SUPERVISORD}", self._ratio(SUPERVISORD, "start_s"), 0.25),
            (f"start: {MOCKER} / {S6}", self._ratio(S6, "start_s"), 1.5),
            (f"start: {MOCKER} / {FLOOR_ALIVE}", self._ratio(FLOOR_ALIVE, "start_s"), None),
            (f"start: {ALL_AT_ONCE} / {SUPERVISORD}", self._bound(SUPERVISORD), None),
            (f"start: {ALL_AT_ONCE} / {S6}", self._bound(S6), None),
            (f"stop: {MOCKER} / {SUPERVISORD}", self._ratio(SUPERVISORD, "stop_s"), None),
            (f"stop: {MOCKER} / {S6}", self._ratio(S6, "stop_s"), None),
            (f"stop of {self.jobs}, seconds", self.median(MOCKER, "stop_s"), 2.0),
            ("private MB of a job", memory and memory / self.jobs / 2**20, 1.0),
            ("idle, percent of a processor", idle and idle * 100, 0.1),
            (f"{RESTART} / {SERVER}", self.warm.ratio(RESTART, SERVER), 3.0),
            (f"{RESTART} / {FLOOR_SERVED}", self.warm.ratio(RESTART, FLOOR_SERVED), None),
        ]

    def _ratio(self, other: str, quantity: str, one: str = MOCKER) -> float | None:
        first, second = self.median(one, quantity), self.median(other, quantity)
        return first / second if first and second else None

    def _bound(self, other: str) -> float | None:
        """Return the ratio that the kernel leaves to whoever isolates as mocker does."""
        return self._ratio(other, "start_s", ALL_AT_ONCE)


def main() -> None:
    """Measure and print."""
    options = parse_options()
    report = Report(options.jobs)
    try:
        check_descriptors(max([options.jobs, *options.more]))
        with ExitStack() as stack:
            measure_all(Setting(stack), stack, report, options)
    except (IsolationError, ObstacleError) as error:
        sys.exit(f"supervise_scale: {error}")
    sys.stdout.write(render_table(report))
    if options.json:
        options.json.write_text(json.dumps(render_json(report), indent=1))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what it takes to keep many jobs alive.")
    add = parser.add_argument
    add("--jobs", type=int, default=500, help="jobs of each contestant (default: %(default)s)")
    add(
        *("--more", "-m"),
        type=int,
        nargs="*",
        default=[1000, 2000],
        help="jobs of mocker's alone (default: 1000 2000)",
    )
    add("--rounds", type=int, default=3, help="of all contestants (default: %(default)s)")
    add("--restarts", type=int, default=50, help="of one job (default: %(default)s)")
    add("--idle", type=float, default=10.0, help="seconds of doing nothing (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write all that was measured to FILE")
    return parser.parse_args()


def measure_all(
    setting: Setting, stack: ExitStack, report: Report, options: argparse.Namespace
) -> None:
    """Let everybody keep jobs in turns, then mocker more of them, then mocker restart one."""
    deadline = time.monotonic() + MAX_SECONDS
    keep_in_turns(setting, report, options, deadline)
    for jobs in options.more:
        if time.monotonic() < deadline:
            try:
                report.more[jobs] = keep(setting, prepare_mocker, jobs, 0)
            except ObstacleError as obstacle:
                report.obstacles[f"{MOCKER}, {jobs} jobs"] = str(obstacle)
    null = {"stdin": setting.null, "stdout": setting.null, "stderr": setting.null}
    contestants: Mapping[str, Callable[[], Measure]] = {
        RESTART: lambda: prepare_restart(setting, stack),
        SERVER: lambda: time_container(lambda: setting.server.spawn(TRUE, **null)),
        FLOOR_SERVED: lambda: prepare_warm_floor(setting, stack, "served"),
    }
    take_turns(contestants, report.warm, warm_up=WARM_UP, count=options.restarts)


def keep_in_turns(
    setting: Setting, report: Report, options: argparse.Namespace, deadline: float
) -> None:
    """Let everybody keep jobs, round by round; who can't drops out. The first round is idle too."""
    contestants: dict[str, Prepare] = {
        MOCKER: prepare_mocker,
        SUPERVISORD: prepare_supervisord,
        S6: prepare_s6,
        FLOOR_ALIVE: partial(prepare_floor, setting),
        ALL_AT_ONCE: partial(prepare_floors, setting),
    }
    for turn in range(options.rounds):
        if turn and time.monotonic() > deadline:
            return
        for name in random.sample(list(contestants), len(contestants)):
            try:
                use = keep(setting, contestants[name], options.jobs, 0 if turn else options.idle)
            except ObstacleError as obstacle:
                report.obstacles[name] = str(obstacle)
                report.uses.pop(name, None)
                del contestants[name]
            else:
                report.uses.setdefault(name, []).append(use)


def keep(setting: Setting, prepare: Prepare, jobs: int, idle: float) -> Use:
    """Let a contestant keep jobs, in a directory of its own."""
    with tempfile.TemporaryDirectory(dir=setting.directory) as directory:
        return measure(prepare(Path(directory), jobs), jobs, idle)


def prepare_restart(setting: Setting, stack: ExitStack) -> Measure:
    """Start one job that says when it began, and return how to time a restart of it."""
    compiler = find("cc", "gcc libc6-dev")
    program = setting.directory / "first_instruction"
    source = Path(__file__).with_name("first_instruction.c")
    run_unmeasured(compiler, "-O2", "-static", "-o", str(program), str(source))
    file = setting.directory / "restart.toml"
    # By way of stdin, because what a volume costs is no part of a restart.
    file.write_text(
        f'[supervisor]\nname = "restart-{os.getpid()}"\n'
        f'[jobs.first]\ncommand = ["/proc/self/fd/0"]\nstdin = "{program}"\n'
        'restart = "always"\nbackoff = { initial = 0 }\nstdout = "inherit"\n'
    )
    stack.enter_context(leaving_nothing())
    supervisor = subprocess.Popen(
        [find_beside_python("mocker-supervise"), str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**ENVIRONMENT, "XDG_RUNTIME_DIR": str(setting.directory)},
    )
    assert supervisor.stdout
    lines = stack.enter_context(supervisor.stdout)
    read_moment(lines.fileno())

    def run() -> float:
        command = find_command(supervisor.pid)
        begin = time.monotonic_ns()
        os.kill(command, signal.SIGKILL)
        return (read_moment(lines.fileno()) - begin) / 1e6

    return run


def find_command(supervisor: int) -> int:
    """Return the pid of the command of a supervisor's only job: no other grandchild is there."""
    pids = [pid for child in list_children(supervisor) for pid in list_children(child)]
    if len(pids) != 1:
        raise ObstacleError(f"one command should run, and it is {len(pids)}")
    return pids[0]


def read_moment(fd: int) -> int:
    """Return the nanoseconds of the monotonic clock that the job has told; it does so at once."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    line = os.read(fd, 1000) if poll.poll(PATIENCE * 1000) else b""
    if not line.endswith(b"\n"):
        raise ObstacleError("the job does not say when it begins")
    return int(line.split()[-1])


def render_table(report: Report) -> str:
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    system = f"Linux {platform.release()}, {os.cpu_count()} processors"
    lines = [
        f"Python {platform.python_version()}, {system}, as {who}",
        "",
        f"{f'{report.jobs} jobs':36}{'start s':>9}{'stop s':>9}{'MB':>9}{'KB a job':>10}"
        f"{'idle %':>9}{'runs':>6}",
    ]
    for name in (MOCKER, SUPERVISORD, S6, FLOOR_ALIVE, ALL_AT_ONCE):
        if uses := report.uses.get(name):
            values = {key: report.median(name, key) for key in asdict(uses[0])}
            lines.append(render_use(name, values, report.jobs, len(uses)))
        elif name in report.obstacles:
            lines.append(f"{name:40}{report.obstacles[name]}")
    for jobs, use in report.more.items():
        lines.append(render_use(f"{MOCKER}, {jobs} jobs", asdict(use), jobs, 1))
    lines += ["", f"{'milliseconds':40}{'median':>10}{'lowest':>10}{'runs':>8}"]
    for name in (RESTART, SERVER, FLOOR_SERVED):
        if times := report.warm.times.get(name):
            median = report.warm.median(name)
            lines.append(f"{name:40}{median:10.2f}{min(times):10.2f}{len(times):8}")
        else:
            lines.append(f"{name:44}{report.warm.obstacles[name]}")
    lines += ["", f"{'':56}{'is':>8}{'at most':>10}"]
    lines += [render_ratio(*check) for check in report.checks()]
    sources = {use.memory_source for uses in report.uses.values() for use in uses}
    lines += ["", f"Memory is private memory, from {' or '.join(sorted(sources))}."]
    return "\n".join(lines) + "\n"


def render_use(name: str, values: Mapping[str, float | None], jobs: int, runs: int) -> str:
    start, stop, memory, idle = (
        values[key] or 0.0 for key in ("start_s", "stop_s", "private_bytes", "idle_share")
    )
    idle_text = "-" if values["idle_share"] is None else f"{idle * 100:.3f}"
    return (
        f"{name:36}{start:9.2f}{stop:9.2f}{memory / 2**20:9.1f}{memory / 2**10 / jobs:10.0f}"
        f"{idle_text:>9}{runs:6}"
    )


def render_json(report: Report) -> dict[str, object]:
    return {
        "jobs": report.jobs,
        "uses": {name: list(map(asdict, uses)) for name, uses in report.uses.items()},
        "more": {jobs: asdict(use) for jobs, use in report.more.items()},
        "milliseconds": report.warm.times,
        "checks": [
            {"of": name, "is": value, "at_most": limit} for name, value, limit in report.checks()
        ],
        "not_measured": report.obstacles | report.warm.obstacles,
    }


if __name__ == "__main__":
    main()
