"""The figures of jobs: CPU, memory, processes, and what they have printed.

A job that has a cgroup is accounted for by the kernel, as its limits are: the page cache counts as
its memory, and threads as processes. Of others, the processes are looked at, see `usage`.

One look at the processes serves all who ask while it is fresh, so that the figures cost little
however many ask how often.
"""

from collections.abc import Mapping, Sequence

import attrs
import trio

from mocker.isolation import Container
from mocker.isolation.cgroups import Usage

from ..jobs import Job
from ..supervise import Supervisor
from ..threads import run_in_thread
from .usage import Use, measure_use

_FRESH_S = 0.5  # for which a look is good
_INIT = 1  # of the processes of a container is not the job's
_REST = 10  # times as long as a look took until the next one


@attrs.frozen
class Seen:
    """What was seen of a run.

    Attributes:
        use: What its processes used.
        cpu_percent: Of one CPU, since the look before, or else since it began; None if that was
            just now.
        usage: What its cgroup has told; None without one.
    """

    use: Use
    cpu_percent: float | None
    usage: Usage | None = None


class Figures:
    """What was seen at the last look."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._seen: Mapping[int, Seen] = {}  # by the pid of the init
        self._looked_at = self._stale_at = float("-inf")
        self._looking = trio.Lock()

    async def look(self) -> Mapping[int, Seen]:
        """Return what is used, by the pid of each run's init; what cannot be seen is left out."""
        # Beside the lock, in which those who only want what is there would queue.
        if trio.current_time() < self._stale_at:
            await trio.lowlevel.checkpoint()
            return self._seen
        async with self._looking:
            if trio.current_time() >= self._stale_at:
                await self._look()
            return self._seen

    async def _look(self) -> None:
        jobs = self._supervisor.jobs.values()
        began = {job.pid: job.life.began for job in jobs if job.pid is not None}
        now = trio.current_time()
        usages = await _read_usages(list(self._supervisor.running.values()))
        uses = {pid: use for pid, usage in usages.items() if (use := _find_use(usage))}
        if others := began.keys() - uses.keys():
            try:
                uses |= await run_in_thread(measure_use, others)
            except OSError:  # no thread is to be had, or no descriptor
                pass
        before, looked_at = self._seen, self._looked_at
        self._seen = {
            pid: Seen(
                use,
                _find_percent(use, began[pid], before.get(pid), looked_at, now),
                usages.get(pid),
            )
            for pid, use in uses.items()
            if pid in began
        }
        self._looked_at = now
        self._stale_at = now + max(_FRESH_S, _REST * (trio.current_time() - now))


def describe_figures(job: Job, seen: Mapping[int, Seen], restarts: int) -> dict[str, object]:
    """Return what a job uses and has printed: plain values, as JSON has them.

    Args:
        job: Which.
        seen: What was seen of all jobs, by the pids of their inits.
        restarts: How many of its runs nobody asked for.
    """
    tally = job.tally
    return {
        "name": job.config.name,
        "state": job.life.state.value,
        "pid": job.pid,
        **describe_use(job, seen),
        **_describe_limits(job, seen),
        "output_bytes": tally.bytes,
        "output_lines": tally.lines,
        "output_lines_exact": tally.is_exact,
        "restarts": restarts,
        "skips": job.skips,
    }


def describe_use(job: Job, seen: Mapping[int, Seen]) -> dict[str, object]:
    """Return what the processes of a job use; nulls if there are none, or none can be seen."""
    one = None if job.pid is None else seen.get(job.pid)
    if one is None:
        return dict.fromkeys(("cpu_percent", "cpu_s", "memory_bytes", "processes"))
    return {
        "cpu_percent": one.cpu_percent,
        "cpu_s": round(one.use.cpu_s, 2),
        "memory_bytes": one.use.memory_bytes,
        "processes": one.use.processes,
    }


def _describe_limits(job: Job, seen: Mapping[int, Seen]) -> dict[str, object]:
    """Return what a job may use, and how near to that it has come."""
    one = None if job.pid is None else seen.get(job.pid)
    usage = one.usage if one is not None and one.usage is not None else Usage()
    return {
        "memory_limit_bytes": job.config.container.memory,
        "memory_peak_bytes": usage.memory_peak,
        "oom_kills": job.reports.oom_kills + usage.oom_kills,
        "pressure": usage.pressure,
    }


async def _read_usages(containers: Sequence[Container]) -> Mapping[int, Usage]:
    """Return what the cgroups tell of containers that have one, by the pids of their inits.

    Not in a thread: one that ends meanwhile has its cgroup removed.
    """
    usages = dict[int, Usage]()
    for container in containers:
        if container.cgroup is not None:
            usages[container.pid] = container.cgroup.read_usage()
            await trio.lowlevel.checkpoint()
    return usages


def _find_use(usage: Usage) -> Use | None:
    """Return what a cgroup tells; None if it does not count all of that."""
    if usage.memory is None or usage.pids is None:
        return None
    return Use(usage.cpu_s, usage.memory, max(usage.pids - _INIT, 0))


def _find_percent(
    use: Use, began: float | None, before: Seen | None, looked_at: float, now: float
) -> float | None:
    cpu_s, since = (0.0, began) if before is None else (before.use.cpu_s, looked_at)
    if since is None or now <= since:
        return None
    # Who ended between two looks at its family may have counted twice the last time.
    return round(100 * max(use.cpu_s - cpu_s, 0.0) / (now - since), 1)
