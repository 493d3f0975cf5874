"""When a scheduled job runs: at its times, and what happens if the former run still goes on.

The one place that follows the wall clock, which may be set while a job waits. So nothing sleeps
until a time: the clock is looked at again and again. Set forward, one run makes up for the times
that were jumped over; set back by less than three hours, no time is run twice. Vixie cron has the
same bound.
"""

import math
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
import trio

from .jobs import Job
from .schedule import next_time

log = structlog.get_logger("mocker.jobs")

_LOOK_S = 30.0  # between two looks at the clock; how late a run is after it was set forward
_SET_BACK = timedelta(hours=3)


def read_clock() -> datetime:
    """Return the time of the wall clock here."""
    return datetime.now().astimezone()


async def run_on_schedule(
    job: Job, schedule: str, clock: Callable[[], datetime] = read_clock
) -> None:
    """Start a job at its times, until cancelled.

    Args:
        job: A job with an `overlap`.
        schedule: A cron expression.
        clock: The wall clock.
    """
    queue = job.config.overlap == "queue"
    send, receive = trio.open_memory_channel[None](math.inf if queue else 0)
    async with trio.open_nursery() as nursery, send:
        nursery.start_soon(_run_each, job, receive)
        last = clock()
        while True:
            last = await _wait_next(schedule, last, clock)
            if job.is_suspended:
                continue
            if not queue and not job.life.at_rest:
                _skip(job, "its former run goes on")
                continue
            try:
                send.send_nowait(None)
            except trio.WouldBlock:
                _skip(job, "its former run ends now")


def _skip(job: Job, reason: str) -> None:
    job.skips += 1
    log.warning("job.skipped", job=job.config.name, reason=reason, count=job.skips)


async def _run_each(job: Job, times: trio.MemoryReceiveChannel[None]) -> None:
    async with times:
        async for _ in times:
            await job.wait_at_rest()
            if not job.is_suspended:  # meanwhile
                job.start()
                await job.wait_at_rest()


async def _wait_next(schedule: str, last: datetime, clock: Callable[[], datetime]) -> datetime:
    """Wait for the first time after the last one, and return it; or now, if there were several."""
    while True:
        now = clock()
        if last - now > _SET_BACK:
            last = now
        due = next_time(schedule, last)
        left = (due - now).total_seconds()
        if left <= 0:
            return max(due, now)
        await trio.sleep(min(left, _LOOK_S))
