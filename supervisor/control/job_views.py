"""A job as those who ask see it: plain values, as JSON has them."""

import math

from ..jobs import Job
from ..lifecycle import State


def describe_job(job: Job, now: float, restarts: int) -> dict[str, object]:
    """Return the state of a job.

    Args:
        job: Which.
        now: In trio's time.
        restarts: How many of its runs nobody asked for.
    """
    life, config = job.life, job.config
    runs = life.began is not None and job.pid is not None
    return {
        "name": config.name,
        "group": config.group,
        "state": life.state.value,
        "reason": _explain(job),
        "pid": job.pid,
        "uptime_s": round(now - life.began, 3) if runs and life.began is not None else None,
        "restarts": restarts,
        "health": _find_health(job),
        "status": job.notice.status,
        "last_exit": None if job.status is None else str(job.status),
        "oom_killed": job.reports.oom_killed,
        "retry_in_s": _count_down(life.retry_at if life.state is State.BACKOFF else None, now),
        "paused": job.is_paused,
        "killed_in_s": _count_down(job.kill_at, now),
        "schedule": config.schedule,
        "command": list(config.container.argv),
        "is_well": is_well(job),
    }


def is_well(job: Job) -> bool:
    """Whether a job does what it is there for: it runs, waits for its time, or has ended well.

    One that is paused does not run, and one whose schedule is stopped waits for no time.
    """
    life = job.life
    if life.state is State.RUNNING:
        return not job.is_paused
    if job.is_suspended:
        return False
    if life.state is State.STOPPED and life.attempt == 0:
        return job.config.schedule is not None
    return life.state is State.EXITED and life.succeeded is True


def _explain(job: Job) -> str:
    """Return why it is in its state; empty where that goes without saying."""
    if job.life.state in {State.BACKOFF, State.EXITED, State.FATAL} and job.reports.refusal:
        return job.reports.refusal
    if job.is_suspended and job.life.at_rest:
        return f"its schedule is stopped; 'mocker start {job.config.name}' ends that"
    return job.life.reason


def _count_down(then: float | None, now: float) -> float | None:
    if then is None or math.isinf(then):
        return None
    return max(round(then - now, 3), 0.0)


def _find_health(job: Job) -> str | None:
    """Return what its probes say; None of a job that is not asked, or does not run."""
    if job.config.ready is None and job.config.alive is None:
        return None
    match job.life.state:
        case State.RUNNING:
            return "healthy" if job.config.alive is not None else "ready"
        case State.STARTING:
            return "starting"
        case _:
            return None
