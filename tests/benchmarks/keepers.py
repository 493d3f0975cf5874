"""Programs that keep many jobs alive, each with the same command, and what one costs: `measure`.

mocker-supervise keeps each job in a container, with all defaults. supervisord and s6-svscan keep
bare processes. The C program keeps containers as mocker's and does nothing else; several of them at
once are what the kernel needs for that on all processors, whoever asks it.

A job counts as running when its supervisor says so; s6, which does not say, when its command is
executed. supervisord is told that a job that was started runs (startsecs=0), because by default it
watches it for a second first, and to close no more descriptors in each child than there can be.
"""

import os
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .process_use import (
    leaving_nothing,
    list_children,
    list_descendants,
    read_name,
    read_private_memory,
    read_processor_time,
    wait_gone,
)
from .start_latency import (
    ENVIRONMENT,
    ObstacleError,
    Setting,
    find,
    find_beside_python,
    floor_command,
    read_anonymous_memory,
)

COMMAND = ["sleep", "3600"]
FLOORS = 4  # of the C program that start at once, so that no processor is ever idle
PATIENCE = 60  # seconds for all jobs to run, and for all to be gone
_LOOK_S = 0.005  # between two looks at how many run
_SETTLE_S = 1.0  # at most, before a supervisor counts as idle
_SUPERVISORD_FDS = 6  # that it may have open for each job: three pipes, two log files
_SPARE_FDS = 100

Count = Callable[[int], int]  # how many jobs run below a process


@dataclass(frozen=True)
class Keeper:
    """A program that is ready to be started.

    Attributes:
        argv: The program and its arguments.
        directory: What it works in; its output is in the file "output".
        count: Looks at the process of the program and returns how many jobs run.
        heeds_term: Whether it ends at SIGTERM; if not, then at the end of its stdin.
    """

    argv: list[str]
    directory: Path
    count: Count
    heeds_term: bool = True


@dataclass(frozen=True)
class Use:
    """What it took to keep jobs alive.

    Attributes:
        start_s: Seconds until all ran, from the start of the program.
        stop_s: Seconds until the program had ended, from SIGTERM.
        private_bytes: Memory that only one of all these processes has, the program's own included.
        memory_source: Where that number is from.
        processes: How many there were.
        idle_share: Part of one processor's time while nothing happened; None if not measured.
    """

    start_s: float
    stop_s: float
    private_bytes: int
    memory_source: str
    processes: int
    idle_share: float | None


class _Lines:
    """Counts the lines of a file that have a mark, as it grows."""

    def __init__(self, path: Path, mark: bytes) -> None:
        self._path, self._mark = path, mark
        self._offset = self._count = 0

    def __call__(self, _pid: int) -> int:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, end, _ = file.read().rpartition(b"\n")
        self._offset += len(whole + end)
        self._count += sum(self._mark in line for line in (whole + end).splitlines())
        return self._count


class _Commands:
    """Counts the commands of the services of an s6-svscan.

    They begin in about the order of the services, so that it is enough to look at the next one.
    """

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, pid: int) -> int:
        for service in list_children(pid)[self._count :]:
            if COMMAND[0] not in map(read_name, list_children(service)):
                break
            self._count += 1
        return self._count


def prepare_mocker(directory: Path, jobs: int) -> Keeper:
    program = find_beside_python("mocker-supervise")
    file = directory / "jobs.toml"
    file.write_text(
        f'[supervisor]\nname = "scale-{os.getpid()}"\nlog_format = "json"\n'
        f"[jobs.sleep]\ncommand = {COMMAND}\nreplicas = {jobs}\n"
    )
    count = _Lines(directory / "output", b'"event": "job.started"')
    return Keeper([program, str(file)], directory, count)


def prepare_supervisord(directory: Path, jobs: int) -> Keeper:
    program = find("supervisord", "supervisor")
    file = directory / "supervisord.conf"
    sections = {
        "supervisord": {
            "nodaemon": "true",
            "logfile": "/dev/null",  # it prints the same
            "logfile_maxbytes": 0,
            "pidfile": directory / "pid",
            "childlogdir": directory,
            "minfds": jobs * _SUPERVISORD_FDS + _SPARE_FDS,
        },
        "program:sleep": {
            "command": shlex.join(COMMAND),
            "process_name": "%(program_name)s-%(process_num)d",
            "numprocs": jobs,
            "startsecs": 0,
        },
    }
    lines: list[str] = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{key}={value}" for key, value in values.items())]
    file.write_text("\n".join(lines) + "\n")
    count = _Lines(directory / "output", b"entered RUNNING state")
    return Keeper([program, "-c", str(file)], directory, count)


def prepare_s6(directory: Path, jobs: int) -> Keeper:
    program = find("s6-svscan", "s6")
    services = directory / "services"
    for number in range(jobs):
        run = services / f"sleep-{number}" / "run"
        run.parent.mkdir(parents=True)
        run.write_text(f"#!/bin/sh\nexec {shlex.join(COMMAND)}\n")
        run.chmod(0o755)
    # By default it takes 500.
    return Keeper([program, "-c", str(jobs + 1), str(services)], directory, _Commands())


def prepare_floor(setting: Setting, directory: Path, jobs: int) -> Keeper:
    said = _Lines(directory / "output", b"")
    return Keeper(
        floor_command(setting, "alive", str(jobs)),
        directory,
        lambda pid: jobs * said(pid),  # one line says that all of them run
        heeds_term=False,
    )


def prepare_floors(setting: Setting, directory: Path, jobs: int) -> Keeper:
    """Have several of the C program keep a part of the jobs each, all at once."""
    said = _Lines(directory / "output", b"")
    share, rest = divmod(jobs, FLOORS)
    counts = [str(share + (number < rest)) for number in range(FLOORS)]
    command = floor_command(setting, "alive")
    # They end at the end of stdin, which a shell gives to none that is in the background.
    script = "exec 3<&0; for n in " + " ".join(counts) + '; do "$@" $n <&3 & done; wait'
    return Keeper(
        ["sh", "-c", script, "sh", *command],
        directory,
        lambda pid: jobs * said(pid) // FLOORS,  # each says in one line that all of its own run
        heeds_term=False,
    )


def measure(keeper: Keeper, jobs: int, idle: float) -> Use:
    """Let a program keep jobs alive, look at it, and end it.

    Args:
        keeper: The program.
        jobs: How many it keeps.
        idle: Seconds to look at it while nothing happens; 0 for not at all.

    Raises:
        ObstacleError: It does not keep them, or does not end.
    """
    anonymous = read_anonymous_memory()
    env = {**ENVIRONMENT, "XDG_RUNTIME_DIR": str(keeper.directory)}
    with leaving_nothing(), (keeper.directory / "output").open("wb") as output:
        begin = time.perf_counter()
        program = subprocess.Popen(
            keeper.argv, stdin=subprocess.PIPE, stdout=output, stderr=output, env=env
        )
        assert program.stdin
        with program.stdin:
            _wait_running(program, keeper, jobs)
            start_s = time.perf_counter() - begin
            pids = [program.pid, *list_descendants(program.pid)]
            share = _look_idle(pids, idle) if idle else None
            try:
                memory = read_private_memory(pids)
                source = "smaps_rollup of all processes"
            except PermissionError:
                # An init is not dumpable, so its owner may not look. What grew is counted instead.
                memory = max(0, read_anonymous_memory() - anonymous)
                source = "growth of AnonPages in /proc/meminfo"
            begin = time.perf_counter()
            if keeper.heeds_term:
                program.terminate()
        if not wait_gone(program.pid, PATIENCE):
            raise ObstacleError(f"it does not end within {PATIENCE} s")
        stop_s = time.perf_counter() - begin
        if program.wait():
            raise ObstacleError(_describe_end(program, keeper))
    return Use(start_s, stop_s, memory, source, len(pids), share)


def _wait_running(program: subprocess.Popen[bytes], keeper: Keeper, jobs: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while (count := keeper.count(program.pid)) < jobs:
        if program.poll() is not None:
            raise ObstacleError(_describe_end(program, keeper))
        if time.monotonic() > deadline:
            raise ObstacleError(f"{count} of {jobs} jobs run after {PATIENCE} s")
        time.sleep(_LOOK_S)


def _look_idle(pids: list[int], seconds: float) -> float:
    """Return the part of one processor's time that processes take while nothing happens."""
    time.sleep(min(_SETTLE_S, seconds))
    begin, before = time.perf_counter(), read_processor_time(pids)
    time.sleep(seconds)
    return (read_processor_time(pids) - before) / (time.perf_counter() - begin)


def _describe_end(program: subprocess.Popen[bytes], keeper: Keeper) -> str:
    lines = (keeper.directory / "output").read_text(errors="replace").splitlines()
    return f"it ended with {program.returncode}: {lines[-1] if lines else 'without a word'}"
