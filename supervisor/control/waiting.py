"""Somebody waits until jobs are ready, have completed or are stopped.

What a job's state means for that is the same as for those that depend on it. Nothing is looked at
again and again: whoever waits is woken by a change of the state.
"""

import math
from collections.abc import Collection, Mapping
from contextlib import suppress

import attrs
import trio

from .. import lifecycle
from ..jobs import Job
from ..supervise import Supervisor
from .line_stream import Tell
from .problems import RequestError

CONDITIONS = ("ready", "completed", "stopped")
_MOST_S = 10 * 365 * 86400  # nobody waits longer


@attrs.frozen
class WaitOutcome:
    """What came of the wait for a job.

    Attributes:
        job: Its name.
        outcome: In a word or a few, as it is shown.
        ok: Whether it is what was waited for.
        reason: Why not.
        timed_out: Whether the time was over.
    """

    job: str
    outcome: str
    ok: bool
    reason: str
    timed_out: bool = False


def take_condition(values: Mapping[str, object]) -> str:
    """Return what the body of a request says jobs are to be.

    Raises:
        RequestError: It is none of CONDITIONS.
    """
    condition = values.get("for", CONDITIONS[0])
    if condition not in CONDITIONS:
        text = f"'for' must be one of {', '.join(CONDITIONS)}, not {condition!r}"
        raise RequestError("bad-request", 400, text)
    return str(condition)


def take_timeout(values: Mapping[str, object]) -> float:
    """Return the seconds that the body of a request gives; inf if it gives none.

    Raises:
        RequestError: They are no number of seconds.
    """
    seconds = values.get("timeout_s")
    if seconds is None:
        return math.inf
    # NaN is neither, and JSON as Python reads it has it; True is an int to Python alone.
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise RequestError("bad-request", 400, "'timeout_s' is no number of seconds")
    return float(min(seconds, _MOST_S))


async def wait_for_jobs(
    supervisor: Supervisor, jobs: Collection[Job], condition: str, seconds: float, tell: Tell
) -> None:
    """Tell of each job that it is what it is to be, once it is.

    It ends with the first one that will never be so, and at the end of the time with all that are
    not so yet; these are told too.

    Args:
        supervisor: Whose jobs they are.
        jobs: Which.
        condition: One of CONDITIONS.
        seconds: How long.
        tell: Is given an `WaitOutcome` as a mapping.
    """
    pending = {job.config.name: job for job in jobs}
    deadline = trio.current_time() + seconds
    send, receive = trio.open_memory_channel[WaitOutcome](len(jobs))

    def look(name: str, job: Job) -> bool:
        """Return whether it is known what becomes of a job, which is sent then."""
        met = _meets(supervisor, name, job, condition)
        if met is None:
            return False
        reason = "" if met else _explain(job)
        send.send_nowait(WaitOutcome(name, _describe(condition, met=met), met, reason))
        return True

    async def follow(name: str, job: Job) -> None:
        while not look(name, job):
            await job.wait_changed()

    async with send, receive, trio.open_nursery() as nursery:
        for name, job in pending.items():
            # Not by a task alone: without any time none would come to its turn.
            if not look(name, job):
                nursery.start_soon(follow, name, job)
        while pending and (outcome := await _receive(receive, deadline)) is not None:
            del pending[outcome.job]
            # Not within the time: to cancel it would leave half a line in the answer.
            await tell(attrs.asdict(outcome))
            if not outcome.ok:
                pending.clear()
        nursery.cancel_scope.cancel()
    for name, job in pending.items():
        reason = f"the time is over, it is {job.life.state.value}"
        late = WaitOutcome(name, _describe(condition, met=False), False, reason, timed_out=True)
        await tell(attrs.asdict(late))


async def _receive(
    receive: trio.MemoryReceiveChannel[WaitOutcome], deadline: float
) -> WaitOutcome | None:
    with suppress(trio.WouldBlock):
        return receive.receive_nowait()
    with trio.move_on_at(deadline):
        return await receive.receive()
    return None


def _meets(supervisor: Supervisor, name: str, job: Job, condition: str) -> bool | None:
    """Tell whether a job is what it is to be; None if not yet, False if it will not be."""
    if supervisor.is_being_replaced(name):
        return None
    if condition == "stopped":
        return True if job.life.at_rest else None
    met = lifecycle.meets(job.life, condition)
    if met is not True and job.life.final and job.life.at_rest:
        return False  # it was never asked for, and will not be any more
    if met is False and job.config.schedule is not None and not job.life.final:
        return None  # the clock asks for it again
    return met


def _describe(condition: str, *, met: bool) -> str:
    return condition if met else f"not {condition}"


def _explain(job: Job) -> str:
    if job.life.reason:
        return job.life.reason
    return f"it is {job.life.state.value}" + ("" if job.status is None else f": {job.status}")
