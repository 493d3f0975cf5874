"""In which order jobs stop, and what is said about those that hold everything up.

Each job is stopped once all that depend on it are gone, not only told to go. What has no such ties
stops at the same time.
"""

from collections.abc import Collection

import structlog
import trio

from .jobs import Job
from .lifecycle import State

log = structlog.get_logger("mocker.supervisor")

_PATIENCE_S = 3.0  # before somebody who waits wants to know for whom
_MOST_NAMED = 10  # jobs a time


async def stop_in_order(jobs: Collection[Job]) -> None:
    """Stop jobs in reverse order of their dependencies; return when they are at rest."""
    dependents: dict[str, list[Job]] = {job.config.name: [] for job in jobs}
    for job in jobs:
        for name in job.config.depends_on:
            dependents.get(name, []).append(job)
    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(_stop_after, job, dependents[job.config.name])


async def tell_who_holds(jobs: Collection[Job]) -> None:
    """Say every few seconds which jobs are not gone yet, and when they will be killed."""
    while True:
        await trio.sleep(_PATIENCE_S)
        holding = [job for job in jobs if job.life.state is State.STOPPING]
        for job in holding[:_MOST_NAMED]:
            left = 0.0 if job.kill_at is None else job.kill_at - trio.current_time()
            log.warning(
                "supervisor.waiting",
                job=job.config.name,
                pid=job.pid,
                killed_in_s=round(max(0.0, left), 1),
            )
        if holding[_MOST_NAMED:]:
            log.warning("supervisor.waiting", count=len(holding) - _MOST_NAMED)


async def _stop_after(job: Job, dependents: list[Job]) -> None:
    for other in dependents:
        await other.wait_at_rest()
    job.stop()
    await job.wait_at_rest()
