"""Jobs that somebody wants to stop, each once those that depend on it are gone.

What was asked for goes on whether or not somebody waits for it. Whoever wants such a job to run
meanwhile takes the order back, for of two wishes that contradict each other the later one counts.
"""

from collections.abc import Collection, Iterable

import trio

from .jobs import Job
from .lifecycle import After, State


class StopOrder:
    """That one job is to stop, as soon as that may be."""

    def __init__(self) -> None:
        self._settled = trio.Event()
        self._scope = trio.CancelScope()
        self._withdrawn = False

    async def wait_settled(self) -> bool:
        """Wait until the job is told to stop; return False if it is not, because of somebody."""
        await self._settled.wait()
        return not self._withdrawn

    async def carry_out(self, job: Job, dependents: Iterable[Job]) -> None:
        """Stop a job once others are at rest, unless that is withdrawn before."""
        with self._scope:
            for other in dependents:
                await other.wait_at_rest()
            self.stop_now(job)

    def stop_now(self, job: Job) -> None:
        """Stop a job, whoever depends on it."""
        if not self._settled.is_set():
            job.stop()
            self._settled.set()
        self._scope.cancel()

    def withdraw(self) -> None:
        """Let the job be."""
        self._withdrawn = not self._settled.is_set()
        self._settled.set()
        self._scope.cancel()


class StopOrders:
    """All orders that are not carried out yet."""

    def __init__(self) -> None:
        self._pending: dict[Job, StopOrder] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Carry them out until cancelled; before that, none may have to wait for another job."""
        async with trio.open_nursery() as self._nursery:
            await trio.sleep_forever()

    def give(self, jobs: Collection[Job], others: Iterable[Job]) -> dict[Job, StopOrder]:
        """Stop jobs, those that depend on others first; at once where none of them runs.

        Args:
            jobs: Which; an order for one of them that waits is not given anew.
            others: All that there are: who is about to stop is waited for as well.
        """
        leaving = {job for job in others if _is_leaving(job)} | set(self._pending) | set(jobs)
        dependents: dict[str, list[Job]] = {job.config.name: [] for job in jobs}
        for other in leaving:
            for name in other.config.depends_on:
                if not other.life.at_rest:
                    dependents.get(name, []).append(other)
        return {job: self._give_one(job, dependents[job.config.name]) for job in jobs}

    def withdraw(self, job: Job) -> None:
        """Let a job run, and with it what it depends on, where these wait to be stopped."""
        order = self._pending.pop(job, None)
        if order is not None:
            order.withdraw()
        for other in list(self._pending):
            if other.config.name in job.config.depends_on:
                self.withdraw(other)

    def _give_one(self, job: Job, dependents: Collection[Job]) -> StopOrder:
        order = self._pending.get(job) or StopOrder()
        if not dependents or self._nursery is None:
            order.stop_now(job)
        elif job not in self._pending:
            self._pending[job] = order
            self._nursery.start_soon(self._carry_out, order, job, dependents)
        return order

    async def _carry_out(self, order: StopOrder, job: Job, dependents: Iterable[Job]) -> None:
        await order.carry_out(job, dependents)
        if self._pending.get(job) is order:
            del self._pending[job]


def _is_leaving(job: Job) -> bool:
    return job.life.state is State.STOPPING and job.life.after is After.REST
