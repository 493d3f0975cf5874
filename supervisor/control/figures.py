"""The figures of jobs: CPU, memory, processes, and what they have printed.

One look at the processes serves all who ask while it is fresh, so that the figures cost little
however many ask how often.
"""

from collections.abc import Mapping

import attrs
import trio

from ..jobs import Job
from ..supervise import Supervisor
from ..threads import run_in_thread
from .usage import Use, measure_use

_FRESH_S = 0.5  # for which a look is good
_REST = 10  # times as long as a look took until the next one


@attrs.frozen
class Seen:
    """What was seen of a run.

    Attributes:
        use: What its processes used.
        cpu_percent: Of one CPU, since the look before, or else since it began; None if that was
            just now.
    """

    use: Use
    cpu_percent: float | None


class Figures:
    """What was seen at the last look."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._seen: Mapping[int, Seen] = {}  # by the pid of the init
        self._looked_at = self._stale_at = float("-inf")
        self._looking = trio.Lock()

    async def look(self) -> Mapping[int, Seen]:
        """Return what is used, by the pid of each run's init; what cannot be seen is left out."""
        async with self._looking:
            if trio.current_time() >= self._stale_at:
                await self._look()
            return self._seen

    async def _look(self) -> None:
        jobs = self._supervisor.jobs.values()
        began = {job.pid: job.life.began for job in jobs if job.pid is not None}
        now = trio.current_time()
        try:
            uses = await run_in_thread(measure_use, began.keys())
        except OSError:  # no thread is to be had, or no descriptor
            uses = {}
        before, looked_at = self._seen, self._looked_at
        self._seen = {
            pid: Seen(use, _find_percent(use, began[pid], before.get(pid), looked_at, now))
            for pid, use in uses.items()
        }
        self._looked_at = now
        self._stale_at = now + max(_FRESH_S, _REST * (trio.current_time() - now))


def describe_figures(job: Job, seen: Mapping[int, Seen]) -> dict[str, object]:
    """Return what a job uses and has printed: plain values, as JSON has them."""
    tally = job.tally
    return {
        "name": job.config.name,
        "state": job.life.state.value,
        "pid": job.pid,
        **describe_use(job, seen),
        "output_bytes": tally.bytes,
        "output_lines": tally.lines,
        "restarts": max(job.life.attempt - 1, 0),
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


def _find_percent(
    use: Use, began: float | None, before: Seen | None, looked_at: float, now: float
) -> float | None:
    cpu_s, since = (0.0, began) if before is None else (before.use.cpu_s, looked_at)
    if since is None or now <= since:
        return None
    # Who ended between two looks at its family may have counted twice the last time.
    return round(100 * max(use.cpu_s - cpu_s, 0.0) / (now - since), 1)
