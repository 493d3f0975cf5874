"""Jobs are replaced one by one, each next one only when the former is ready.

It goes on as long as somebody waits for the outcome: once nobody does, the job that is under way
starts all the same, and the next ones are left alone. Of one entry there is one rolling restart at
a time, and no replica is taken down while another one stops or starts, whoever asked for that.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from ..jobs import Job
from ..lifecycle import State
from ..stop_orders import StopOrders
from .actions import (
    AT_THE_END,
    IN_BETWEEN,
    OTHERS_WISH,
    Outcome,
    TellOutcome,
    describe_failure,
    describe_start,
    has_run,
    wait_started,
)

_NOT_YET = {"service": IN_BETWEEN, "oneshot": IN_BETWEEN | {State.RUNNING}}


class RollingRestarts:
    """All that are under way."""

    def __init__(self, jobs: Mapping[str, Job], stops: StopOrders) -> None:
        """Begin none.

        Args:
            jobs: All that there are at any time, by name.
            stops: Who stops jobs in order.
        """
        self._jobs, self._stops = jobs, stops
        self._under_way = set[str]()  # entries

    async def replace(self, jobs: Collection[Job], tell: TellOutcome) -> None:
        """Restart jobs in this order; tell what came of each.

        It ends with the first one that does not become ready; the next ones are told too. If this
        is cancelled, they keep running.
        """
        reason = self._find_obstacle(jobs)
        with self._claim(jobs if not reason else ()):
            for job in jobs:
                if reason:
                    await tell(_refuse(job, reason))
                    continue
                outcome = await self._replace_one(job)
                if not outcome.ok and self._has(job):
                    reason = f"{job.config.name} is not ready"
                await tell(outcome)

    def _find_obstacle(self, jobs: Collection[Job]) -> str:
        """Return why these cannot be replaced now; "" if they can."""
        for job in jobs:
            if job.config.group in self._under_way:
                return f"a rolling restart of {job.config.group} is under way"
        return ""

    @contextmanager
    def _claim(self, jobs: Collection[Job]) -> Iterator[None]:
        groups = {job.config.group for job in jobs}
        self._under_way |= groups
        try:
            yield
        finally:
            self._under_way -= groups

    async def _replace_one(self, job: Job) -> Outcome:
        while (other := self._find_in_between(job)) is not None:
            await other.wait_changed()
        if not self._has(job):
            return _refuse(job, OTHERS_WISH)  # it was removed
        if job.life.final:
            return _refuse(job, AT_THE_END)
        self._stops.withdraw(job)
        job.stop()
        job.start()
        await wait_started(job, _NOT_YET[job.config.kind])
        # Of one that somebody asks, the next one needs more than that it was ready once.
        if job.config.ready is not None and has_run(job):
            return describe_failure(job)
        return describe_start(job, "restarted")

    def _find_in_between(self, job: Job) -> Job | None:
        """Return another replica that stops or starts, None if there is none."""
        for other in self._jobs.values():
            if other is job or other.config.group != job.config.group:
                continue
            if other.life.state in IN_BETWEEN:
                return other
        return None

    def _has(self, job: Job) -> bool:
        return self._jobs.get(job.config.name) is job


def _refuse(job: Job, reason: str) -> Outcome:
    return Outcome(job.config.name, "not restarted", ok=False, reason=reason)
