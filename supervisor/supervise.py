"""All jobs together: started in order, kept, reloaded, stopped in order, and the exit status.

Whatever ends the supervisor (a signal, a critical job, nothing left to run) is one thing, an
`_Ending`; the first one counts. Each request is carried out by a task of its own, so that none
waits for another one and a stop can interrupt everything.
"""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping

import attrs
import structlog
import trio

from mocker.isolation import Container

from . import lifecycle
from .changes import Changes
from .config import JobConfig, SupervisorConfig
from .dependencies import find_affected, find_parts
from .ending_signals import EndingSignals
from .errors import ConfigError
from .feeds import Feeds
from .job_states import tell_states
from .jobs import Job
from .lifecycle import State
from .reload import Difference, compare, load_in_time, render_difference, tell_rejected
from .runs import Means
from .scaling import Scaled, ScaleError, follow_file, scale_jobs
from .service_manager import ServiceManager
from .start_counts import StartCounts
from .stop_orders import StopOrders
from .stopping import stop_in_order, tell_who_holds
from .timetable import run_on_schedule
from .turns import Turn, Turns

log = structlog.get_logger("mocker.supervisor")

_SOME_JOB_FAILED = 1
_NOT_IN_ORDER = 1
_DRAIN_S = 0.4  # for what ended runs have printed and no sink has room for
_A_ROUND = 10  # jobs; to begin with one takes some 0.1 ms, in which nothing else is done
_KILLED_S = 5.0  # for what is killed to be gone; what hangs in the kernel longer is left behind


@attrs.frozen
class _Ending:
    """Why the supervisor ends, and with what status if it ends in order."""

    reason: str
    status: int


class Supervisor:
    """The jobs of a file, from start to stop.

    Attributes:
        config: What the file says, but for other numbers of replicas that somebody asked for.
        changes: Of the states of jobs, for those who follow them.
        jobs: By name.
        stops: Who of them is to stop, because somebody asked for it.
        start_counts: How often they were started.
    """

    def __init__(
        self,
        config: SupervisorConfig,
        means: Means,
        load: Callable[[], SupervisorConfig],
        abandon: Callable[[int], Awaitable[None]],
        manager: ServiceManager | None = None,
    ) -> None:
        """Make a supervisor of jobs that nobody has asked for yet.

        Args:
            config: What the file says.
            means: What all jobs share.
            load: Reads the file again; raises ConfigError.
            abandon: Ends the process with this exit status, whatever still goes on in it.
            manager: Of the service that this process is; None if it is none.
        """
        self.config = config
        self.jobs: dict[str, Job] = {}
        self.stops = StopOrders()
        self.start_counts = StartCounts()
        self._scaled = scale_jobs(config, {})
        self._means = means
        means.outputs.follow = self._end_if_idle
        self.changes = Changes(self.jobs)
        self._load = load
        self._abandon = abandon
        self._manager = manager or ServiceManager({})
        self._scopes: dict[str, trio.CancelScope] = {}
        self._ending: _Ending | None = None
        self._end_asked = trio.Event()
        self._turns = Turns()
        self._loading = trio.CapacityLimiter(4)  # a disk that hangs takes no more threads than that
        self._reloading = False
        self._unfinished = ""  # the name of one that keeps the supervisor from ending
        self._replaced: set[str] = set()  # those that a reload stops and will start anew
        self._ending_signals = EndingSignals()

    async def run(self, signals: AsyncIterator[int]) -> int:
        """Keep the jobs until something ends that, and return the exit status.

        Args:
            signals: Those that arrive, by number.
        """
        self._means.sinks.expect(self.config.jobs.values())
        async with trio.open_nursery() as nursery:
            for config in self.config.jobs.values():
                self._add(config)
            nursery.start_soon(self.stops.run)
            nursery.start_soon(self._follow_signals, signals)
            self._ask(self.jobs)
            nursery.start_soon(self._manager.run, self.jobs, self.changes)
            for count, job in enumerate(self.jobs.values(), 1):
                nursery.start_soon(self._keep, job)
                # Containers are made while others have not begun yet.
                if count % _A_ROUND == 0 and not self._end_asked.is_set():
                    await trio.lowlevel.checkpoint()
            async with trio.open_nursery() as reloads:
                reloads.start_soon(self._follow_turns, nursery)
                self._end_if_idle()
                await self._end_asked.wait()
                reloads.cancel_scope.cancel()
            self._turns.end()
            status = await self._shut_down()
            await self._means.outputs.end(_DRAIN_S)
            nursery.cancel_scope.cancel()
        self.changes.end()
        self.feeds.end()
        return status

    @property
    def running(self) -> Mapping[str, Container]:
        """The containers whose commands are executed, by job."""
        return self._means.running

    def is_being_replaced(self, name: str) -> bool:
        """Whether a reload stops a job and will start it anew, by what the file says now."""
        return name in self._replaced

    @property
    def feeds(self) -> Feeds:
        """What the jobs print."""
        return self._means.feeds

    async def wait_unfollowed(self) -> None:
        """Wait, after the end, until those who follow it have got all of it."""
        await self.feeds.wait_gone()
        await self.changes.wait_gone()

    def end(self, reason: str, status: int) -> None:
        """Stop everything in order, unless that is under way.

        Args:
            reason: What is said about it.
            status: The exit status, if nothing has to be forced.
        """
        if self._ending is None:
            self._ending = _Ending(reason, status)
            self._end_asked.set()

    async def reload(self) -> Difference:
        """Read the file again and follow what has changed in it; return that once it is done.

        Raises:
            ConfigError, OSError: It has mistakes, or cannot be read; nothing is changed.
            NoTurnError: The supervisor is stopping.
        """
        return await self._turns.ask().wait()

    async def plan_reload(self) -> Difference:
        """Return what a reload would change.

        Raises:
            ConfigError, OSError: See `reload`.
        """
        return compare(self.config, (await self._load_scaled()).config)

    async def scale(self, counts: Mapping[str, int]) -> Difference:
        """Have so many replicas of each of these entries; return the difference once it is made.

        Raises:
            ScaleError: It cannot be so; nothing is changed.
            NoTurnError: The supervisor is stopping.
            TooManyTurnsError: Too many others are waited for.
        """
        return await self._turns.ask(counts).wait()

    def _add(self, config: JobConfig) -> None:
        job = Job(config, self._means, self._wait_for_dependencies, self._follow_job)
        self.jobs[config.name] = job
        self.changes.tell(job)

    async def _keep(self, job: Job) -> None:
        """Be everything that goes on for a job while the file says the same about it."""
        with trio.CancelScope() as scope:
            self._scopes[job.config.name] = scope
            async with trio.open_nursery() as nursery:
                if job.config.schedule is not None:
                    nursery.start_soon(run_on_schedule, job, job.config.schedule)
                await job.run()

    async def _wait_for_dependencies(self, config: JobConfig) -> str:
        """Wait until a job may start; return why it never may, "" if it may."""
        while True:
            pending = None
            # Not those of `config`: there may be other replicas by now.
            for name, condition in self.jobs[config.name].config.depends_on.items():
                other = self.jobs[name]
                # What counts of a job that is about to be another one is what becomes of that.
                met = (
                    None if self.is_being_replaced(name) else lifecycle.meets(other.life, condition)
                )
                # The clock asks for a scheduled one again.
                if met is False and other.config.schedule is None:
                    return f"{name} will not be {condition}: it is {other.life.state.value}"
                if not met:
                    pending = other
            if pending is None:
                return ""
            await pending.wait_changed()

    def _follow_job(self, job: Job) -> None:
        """See what the new state of a job means for all."""
        self.changes.tell(job)
        life = job.life
        self.start_counts.see(job)
        if not life.at_rest:
            return
        # What leaves with a reload, or is on a schedule, does not end for good.
        is_over = life.succeeded is not None and not life.final and job.config.schedule is None
        if job.config.critical and is_over:
            status = job.status.shell_code if job.status and life.state is not State.STOPPED else 0
            if not life.succeeded:
                status = status or _SOME_JOB_FAILED
            self.end(f"critical job {job.config.name} has ended", status)
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        """End once nothing runs, or waits for a time, for a sink, or for who has stopped it."""
        # Who was in the way last time most often still is: not all are looked at for each end.
        last = self.jobs.get(self._unfinished)
        is_busy = self._reloading or self._means.outputs.is_any_left
        if is_busy or (last is not None and _is_unfinished(last)):
            return
        self._unfinished = next((n for n, job in self.jobs.items() if _is_unfinished(job)), "")
        if self._unfinished:
            return
        failed = any(job.life.succeeded is False for job in self.jobs.values())
        self.end("nothing is left to run", _SOME_JOB_FAILED if failed else 0)

    async def _follow_signals(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            log.info("signal.received", signal=signal.Signals(number).name)
            match number:
                case signal.SIGTERM | signal.SIGINT:
                    self._follow_ending_signal(number)
                case signal.SIGHUP:
                    self._turns.ask()
                case signal.SIGUSR1 | signal.SIGUSR2:
                    log.info("logs.reopened", count=self._means.sinks.reopen())
                case _:
                    tell_states(self.jobs)

    def _follow_ending_signal(self, number: int) -> None:
        """Stop in order at the first of them, and kill everything at the second."""
        if self._ending_signals.take(number, trio.current_time()):
            if self._ending_signals.count > 1:
                for job in self.jobs.values():
                    job.kill()
            self.end(f"{signal.Signals(number).name} was received", 0)

    async def _follow_turns(self, nursery: trio.Nursery) -> None:
        """Do one thing after the other that is asked for all jobs."""
        while True:
            turn = await self._turns.begin()
            self._reloading = True
            try:
                with self._manager.reloading():
                    turn.end(await self._take(turn, nursery))
            except (ConfigError, OSError, ScaleError) as error:
                turn.end(error)
            self._reloading = False
            self._end_if_idle()

    async def _take(self, turn: Turn, nursery: trio.Nursery) -> Difference:
        """Do what is asked for, if it can be meant."""
        path = self.config.path
        if turn.counts is not None:
            self._scaled = scale_jobs(self._scaled.filed, {**self._scaled.counts, **turn.counts})
            self._tie(self._scaled.config)
            difference = compare(self.config, self._scaled.config)
            log.info("jobs.scaled", **render_difference(difference))
        else:
            try:
                self._scaled = await self._load_scaled()
            except (ConfigError, OSError) as error:
                tell_rejected(path, error)
                raise
            difference = compare(self.config, self._scaled.config)
            log.info("config.loaded", path=path, **render_difference(difference))
        await self._follow_file(self._scaled.config, difference, nursery)
        return difference

    async def _load_scaled(self) -> Scaled:
        filed = await load_in_time(self._load, self.config.path, self._loading)
        return follow_file(self._scaled, filed)

    def _tie(self, new: SupervisorConfig) -> None:
        """Let jobs that go on know which replicas they depend on."""
        jobs = {name: new.jobs.get(name, config) for name, config in self.config.jobs.items()}
        self.config = attrs.evolve(self.config, jobs=jobs)
        for name, job in self.jobs.items():
            job.config = jobs[name]

    async def _follow_file(
        self, new: SupervisorConfig, difference: Difference, nursery: trio.Nursery
    ) -> None:
        self.config = new
        self._means.sinks.expect(new.jobs.values())
        self._replaced = set(difference.changed)
        for name in difference.added:
            self._add(new.jobs[name])
            nursery.start_soon(self._keep, self.jobs[name])
        # What was skipped has a new chance, if what it waited for in vain has one.
        graph = {name: job.depends_on for name, job in new.jobs.items()}
        affected = find_affected(graph, (*difference.changed, *difference.added))
        self._ask([n for n in difference.unchanged if n in affected and self.jobs[n].life.skipped])
        leaving = (*difference.removed, *difference.changed)
        for name in leaving:
            # Or the clock would run it again while it waits for others.
            self.jobs[name].retire(is_replaced=name in self._replaced)
        async with trio.open_nursery() as parts:
            ties = {name: self.jobs[name].config.depends_on for name in leaving}
            for names in find_parts(ties):
                parts.start_soon(self._replace, names, nursery)
        # Not before: what is new may want what another one had, such as a port of the host's.
        self._ask(difference.added)

    async def _replace(self, names: Collection[str], nursery: trio.Nursery) -> None:
        """Stop jobs that have ties to each other, and start anew those that are still there."""
        await stop_in_order([self.jobs[name] for name in names])
        for name in names:
            self._scopes[name].cancel()
            if name in self._replaced:
                self.jobs[name].renew(self.config.jobs[name])
                nursery.start_soon(self._keep, self.jobs[name])
            else:
                del self.jobs[name], self._scopes[name]
                self.changes.tell_removed(name)
        again = [name for name in names if name in self._replaced]
        self._replaced.difference_update(again)
        self._ask(again)

    def _ask(self, names: Iterable[str]) -> None:
        """Start jobs, but for those that the clock alone starts."""
        for name in names:
            config = self.jobs[name].config
            if config.schedule is None or config.run_on_start:
                self.jobs[name].start()

    async def _shut_down(self) -> int:
        """Stop all jobs in order, or by force when that takes too long; return the exit status."""
        if self._ending is None:
            raise AssertionError("nobody has asked to end")
        log.info("supervisor.stopping", reason=self._ending.reason)
        self._manager.stop(self._ending.reason, self.jobs)
        jobs = list(self.jobs.values())
        for job in jobs:
            job.retire()
        in_time = await self._stop_within(self.config.stop_timeout)
        if not in_time:
            left = [job.config.name for job in jobs if not job.life.at_rest]
            log.error("supervisor.stop_timed_out", jobs=left)
            for job in jobs:
                job.kill()
            if not await self._stop_within(_KILLED_S):
                left = [job.config.name for job in jobs if not job.life.at_rest]
                log.error("supervisor.left_behind", jobs=left)
                # To give their tasks up in order would be to wait for what does not end.
                await self._abandon(_NOT_IN_ORDER)
        forced = self._ending_signals.count > 1 or not in_time
        return _NOT_IN_ORDER if forced else self._ending.status

    async def _stop_within(self, seconds: float) -> bool:
        jobs = list(self.jobs.values())
        with trio.move_on_after(seconds) as limit:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tell_who_holds, jobs)
                await stop_in_order(jobs)
                nursery.cancel_scope.cancel()
        return not limit.cancelled_caught


def _is_unfinished(job: Job) -> bool:
    return not job.life.at_rest or job.life.stopped or job.config.schedule is not None
