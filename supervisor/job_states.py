"""What is said about all jobs to somebody who asks by a signal."""

from collections.abc import Mapping

import structlog
import trio

from .jobs import Job
from .lifecycle import State

log = structlog.get_logger("mocker.supervisor")


def tell_states(jobs: Mapping[str, Job]) -> None:
    """Say how each job is, and what it says of itself.

    Args:
        jobs: By name.
    """
    for name, job in jobs.items():
        life = job.life
        facts: dict[str, object] = {"state": life.state.value}
        if job.pid is not None:
            facts |= {"pid": job.pid, "attempt": life.attempt}
            if life.began is not None:
                facts["uptime_s"] = round(trio.current_time() - life.began, 3)
        if life.state is State.BACKOFF:
            facts["delay_s"] = round(life.retry_at - trio.current_time(), 3)
        if life.at_rest and job.status is not None:
            facts["last"] = str(job.status)
        if life.reason:
            facts["reason"] = life.reason
        if job.notice.status:
            facts["status"] = job.notice.status
        log.info("job.state", job=name, **facts)
