"""What it takes a logger to carry lines into logs, `measure_flow`, and how long one is on its way.

The jobs wait in front of a FIFO until all of them are there. The clock starts when it is opened,
and stops when the last line is in the last log. What the logger does before and after does not
count; whether all lines are there, once and in order, is looked at afterwards.
"""

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from .loggers import FileLog, JournalLog, Log, Logger, Order, Place, Prepare
from .process_use import (
    leaving_nothing,
    list_descendants,
    read_name,
    read_private_memory,
    read_processor_time,
    read_resident_memory,
    wait_gone,
)
from .start_latency import ENVIRONMENT, ObstacleError

PATIENCE = 60  # seconds for jobs to be there, for their lines, and for an end
_LOOK_S = 0.02  # between two looks at memory, or whether the program still runs
_SETTLE_S = 0.1  # from the last job that is there until the clock starts
_MEMORY_SHARE = 0.02  # of the time is spent with looking at memory
_FLOOD = 10**10 - 1  # lines; more than anybody waits for
_WARM_UP = 10  # of all latencies, one in so many is left out: those from before the flood is there


Beside = Callable[[Path, int], AbstractContextManager[None]]


@dataclass(frozen=True)
class Flow:
    """What it took to carry lines.

    Attributes:
        lines: How many there were, of all jobs together.
        seconds: From the first of them until the last one was in its log.
        processor_s: Seconds that all processes but the jobs' own have run meanwhile.
        private_bytes: The most memory that was seen which only one of these processes has.
        biggest_bytes: The most that one of them was seen to have of it.
        memory_source: Where that number is from.
        arrived: How many lines the logs have.
        right: How many of them are whole and follow on the one that they should.
    """

    lines: int
    seconds: float
    processor_s: float
    private_bytes: int
    biggest_bytes: int
    memory_source: str
    arrived: int
    right: int

    @property
    def wrong(self) -> int:
        """How many lines are lost, there twice, or out of place."""
        return max(self.lines, self.arrived) - self.right


class _Jobs:
    """The two FIFOs by which jobs are told to begin, and tell how far they are."""

    def __init__(self, directory: Path) -> None:
        for name in ("ready", "go"):
            os.mkfifo(directory / name)
            (directory / name).chmod(0o666)  # for whoever runs in a container
        self._go = directory / "go"
        # For writing too, so that it has no end.
        self._ready = (directory / "ready").open("r+b", buffering=0)

    def __enter__(self) -> "_Jobs":
        return self

    def __exit__(self, *_: object) -> None:
        self._ready.close()

    def read(self, seconds: float) -> int:
        """Return how many times one has said something; wait for the first at most so long."""
        poll = select.poll()
        poll.register(self._ready, select.POLLIN)
        return len(self._ready.read(2**16)) if poll.poll(seconds * 1000) else 0

    @contextmanager
    def going(self) -> Iterator[None]:
        """Let them begin, and end at the end."""
        with self._go.open("wb"):
            yield


class _Use:
    """What the processes of a logger use from now on."""

    def __init__(self, place: Place, logger: Logger) -> None:
        pids = [pid for pid in list_descendants(os.getpid()) if read_name(pid) != place.lines.name]
        if logger.others:
            everybody = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
            pids += [pid for pid in everybody if read_name(pid).startswith(logger.others)]
        self.private_bytes = self.biggest_bytes = 0
        self.memory_source = "smaps_rollup"
        self._next_look = 0.0
        self._before = {pid: read_processor_time([pid]) for pid in pids}

    def look(self) -> None:
        """Look at memory, not too often: it takes time itself."""
        begin = time.monotonic()
        if begin < self._next_look:
            return
        found = list(map(self._read_memory, self._before))
        self.private_bytes = max(self.private_bytes, sum(found))
        self.biggest_bytes = max(self.biggest_bytes, *found, 0)
        now = time.monotonic()
        self._next_look = now + (now - begin) / _MEMORY_SHARE

    def processor_s(self) -> float:
        """Return the seconds on a processor since the beginning."""
        seconds = 0.0
        for pid, before in self._before.items():
            with suppress(OSError):  # it has ended, as what docker still had to clean up
                seconds += read_processor_time([pid]) - before
        return seconds

    def _read_memory(self, pid: int) -> int:
        try:
            return read_private_memory([pid])
        except (FileNotFoundError, ProcessLookupError):
            return 0
        except PermissionError:
            # An init is not dumpable, so its owner may not look, and sees what may be shared too.
            self.memory_source = "smaps_rollup, or RssAnon where that is hidden"
            return read_resident_memory(pid)


@dataclass(frozen=True)
class _Run:
    """A logger that runs, and its jobs, which wait to begin."""

    place: Place
    directory: Path
    logger: Logger
    program: subprocess.Popen[bytes]
    jobs: _Jobs

    def wait_done(self, count: int, use: _Use) -> None:
        """Wait until as many jobs have printed all."""
        deadline = time.monotonic() + PATIENCE
        while count > 0:
            count -= self.jobs.read(_LOOK_S)
            use.look()
            if time.monotonic() > deadline:
                raise ObstacleError(f"{count} jobs have not printed all after {PATIENCE} s")

    def wait_complete(self, number: int, use: _Use) -> float:
        """Wait until the line of a number is in all logs; return the moment when it was."""
        deadline = time.monotonic() + PATIENCE
        moments: list[float] = []
        for log in self.logger.logs:
            while (moment := log.find_last(number)) is None:
                use.look()
                if time.monotonic() > deadline:
                    raise ObstacleError(f"the last line is not in its log after {PATIENCE} s")
                time.sleep(log.look_s)
            moments.append(moment)
        return max(moments)

    def wait_end(self) -> None:
        """Wait until it ends, whose jobs may."""
        if self.logger.heeds_term:
            self.program.terminate()
        if not wait_gone(self.program.pid, PATIENCE):
            raise ObstacleError(f"it does not end within {PATIENCE} s")
        if self.program.wait():
            raise ObstacleError(f"it ended with {self.program.returncode}")


def _alone(_: Path, __: int) -> AbstractContextManager[None]:
    return nullcontext()


def measure_flow(
    place: Place, prepare: Prepare, how: str, jobs: int, lines: int, beside: Beside = _alone
) -> Flow:
    """Let a logger carry lines, and look into its logs.

    Args:
        place: Where.
        prepare: Makes the logger.
        how: The jobs print: "lines", "blocks" or "paced RATE", see numbered_lines.c.
        jobs: How many there are, which all begin at once.
        lines: How many each of them prints.
        beside: What goes on meanwhile, given the directory and the process of the logger.

    Raises:
        ObstacleError: The logger does not do it.
    """
    mode, *rest = how.split()
    arguments = [[mode, str(lines), *rest]] * jobs
    with _run(place, prepare, arguments) as run, beside(run.directory, run.program.pid):
        use = _Use(place, run.logger)
        with run.jobs.going():
            begin = time.monotonic()
            run.wait_done(jobs, use)
            seconds = run.wait_complete(lines - 1, use) - begin
            processor_s = use.processor_s()
            use.look()
        run.wait_end()
        counts = [_count_lines(place, log) for log in run.logger.logs]
    arrived, right = (sum(count) for count in zip(*counts, strict=True))
    memory = (use.private_bytes, use.biggest_bytes, use.memory_source)
    return Flow(jobs * lines, seconds, processor_s, *memory, arrived, right)


def measure_latency(place: Place, prepare: Prepare, ticks: int, period_us: int) -> list[float]:
    """Let a job print a line now and then while another one floods.

    Returns:
        Milliseconds from before the job's write until the line could be read in its log.

    Raises:
        ObstacleError: The logger does not do it.
    """
    commands = [["ticks", str(ticks), str(period_us)], ["lines", str(_FLOOD)]]
    with _run(place, prepare, commands) as run:
        log = run.logger.logs[0]
        if isinstance(log, FileLog):
            milliseconds = _watch_ticks(run, log, ticks)
        else:
            milliseconds = _look_up_ticks(run, log, ticks)
    return milliseconds[ticks // _WARM_UP :]


def _watch_ticks(run: _Run, log: FileLog, ticks: int) -> list[float]:
    watch = [str(run.place.lines), "watch", str(ticks), str(log.path)]
    with subprocess.Popen(watch, stdout=subprocess.PIPE) as watching, run.jobs.going():
        found, _ = watching.communicate()  # it has patience of its own, and an end of that
    if watching.returncode:
        raise ObstacleError("a line does not arrive while another job floods")
    return [int(line) / 1e6 for line in found.splitlines()]


def _look_up_ticks(run: _Run, log: JournalLog, ticks: int) -> list[float]:
    """Compare with the moments that journald has put down: by another program it would be late."""
    with run.jobs.going():
        deadline = time.monotonic() + PATIENCE
        while log.find_last(ticks - 1) is None:
            if time.monotonic() > deadline:
                raise ObstacleError("a line does not arrive while another job floods")
            time.sleep(log.look_s)
    return [at_us / 1e3 - int(text.split()[2]) / 1e6 for text, at_us in log.list_moments()]


@contextmanager
def _run(place: Place, prepare: Prepare, arguments: list[list[str]]) -> Iterator[_Run]:
    """Start a logger and jobs, and leave nothing of them.

    Args:
        place: Where.
        prepare: Makes the logger.
        arguments: Of the program that prints lines, for each job.
    """
    with ExitStack() as stack:
        directory, logs = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent)))
            for parent in (place.directory, place.logs)
        )
        for path in (directory, logs):
            path.chmod(0o755)
        jobs = stack.enter_context(_Jobs(directory))
        stack.enter_context(leaving_nothing())
        commands = [
            [str(place.lines), mode, count, str(directory), *rest]
            for mode, count, *rest in arguments
        ]
        logger = prepare(Order(place, directory, logs, commands, stack))
        output = stack.enter_context((directory / "output").open("w+b"))
        program = subprocess.Popen(
            logger.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**ENVIRONMENT, "XDG_RUNTIME_DIR": str(directory)},
        )
        stack.callback(program.wait)
        stack.callback(program.kill)
        deadline = time.monotonic() + PATIENCE
        missing = len(commands)
        while missing := missing - jobs.read(_LOOK_S):
            if program.poll() is not None:
                output.seek(0)
                lines = output.read().decode(errors="replace").splitlines() or ["without a word"]
                raise ObstacleError(f"it ended with {program.returncode}: {lines[-1]}")
            if time.monotonic() > deadline:
                raise ObstacleError(f"{missing} jobs do not run after {PATIENCE} s")
        time.sleep(_SETTLE_S)
        yield _Run(place, directory, logger, program, jobs)


def _count_lines(place: Place, log: Log) -> tuple[int, int]:
    """Return how many lines a log has, and how many are right."""
    with log.start_reading() as reading:
        found = subprocess.run(
            [place.lines, "check", "0"], stdin=reading.stdout, stdout=subprocess.PIPE, check=True
        )
    arrived, right = map(int, found.stdout.split())
    return arrived, right
