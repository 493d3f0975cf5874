"""One job: what it takes to do what its state says, run after run.

`lifecycle` decides, this module carries out. Whoever wants something of a job changes its state at
once and without waiting; the job's own task, and the tasks of its run, see the new state and act on
it. So no request waits for another one, and none can be lost.
"""

import random
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from functools import partial

import structlog
import trio

from mocker.isolation import Container, ExitStatus, IsolationError, SetupError
from mocker.isolation.cgroups import Usage

from . import lifecycle
from .config import JobConfig
from .delegated_cgroups import NoLimitsError
from .lifecycle import Life, State
from .lines import Source
from .notices import Notice, make_notice
from .pauses import Pause
from .probes import wait_dead, wait_ready
from .pseudoterminal import Pseudoterminal
from .racing import until
from .relay import Relay, Ways
from .reports import RunReports
from .run_output import RunOutput
from .runs import Means, Pipes, kill, resume, start, wait_executed
from .starter import make_unwanted
from .tally import Tally

_EXECUTE_S = 1.0  # for a command to be executed, though it is to stop
# Seconds for which the end of a run is not told because of what a slow sink has not taken yet: as a
# rule, where somebody waits for that end, and where many jobs may end one after the other.
_PATIENCE_S, _STOP_PATIENCE_S, _FINAL_PATIENCE_S = 5.0, 0.5, 0.05
_HELD_BACK = "what its last run printed is not written yet"
_NO_RUN = ExitStatus(code=0)

_CHANCE = random.Random()  # noqa: S311 - it spreads waits, and guards nothing


class Job:
    """A job of the supervisor's.

    Attributes:
        config: What the file says.
        life: Its state, see `lifecycle`.
        status: How its last run ended; None before that.
        pid: Of the init of its present run; None between runs.
        notice: What its present run, or the last one, says of itself.
        ring: The last lines of all its runs.
        tally: How much they have printed.
        skips: How many times of its schedule came while its former run went on.
        is_suspended: Whether the times of its schedule pass, for somebody has stopped it.
        terminal: Of the present run; None without one.
        kill_at: When it will be killed, in trio's time; None unless it is stopping.
        pause: Of its present run, or the last one.
        reports: What tells of its runs.
    """

    def __init__(
        self,
        config: JobConfig,
        means: Means,
        gate: Callable[[JobConfig], Awaitable[str]],
        follow: Callable[["Job"], None],
    ) -> None:
        """Make a job that nobody has asked for yet.

        Args:
            config: What the file says.
            means: What all jobs share.
            gate: Waits for what a job depends on; returns why that will never be, "" if it is.
            follow: Told of each change of its state.
        """
        self.config = config
        self.life = Life()
        self.status: ExitStatus | None = None
        self.pid: int | None = None
        self.kill_at: float | None = None
        self.terminal: Pseudoterminal | None = None
        self.ring = means.rings.make_ring()
        self.tally = Tally()
        self.skips, self.is_suspended = 0, False
        self.notice = Notice()
        self.pause = Pause()
        self._means, self._gate, self._follow = means, gate, follow
        self._changed = trio.Event()
        self.reports = RunReports(config.name, self.ring)
        self._kill_asked = self._is_unmade = False  # the latter: killed before it was executed
        self._to_stop = trio.Event()  # set once its present run is to
        self._starting = self._probing = self._patience = trio.CancelScope()
        self._log = structlog.get_logger("mocker.jobs", job=config.name)

    def start(self) -> None:
        """Run it, if it does not run; right after `stop`, run it anew."""
        self._become(lifecycle.ask_start(self.life))

    def stop(self) -> None:
        """Stop it, or let it be."""
        self._become(lifecycle.ask_stop(self.life))

    def retire(self, *, is_replaced: bool = False) -> None:
        """Let what runs go on, and run nothing again, unless by another file; see `renew`."""
        self.reports.is_replaced = is_replaced
        self._become(lifecycle.retire(self.life))

    def renew(self, config: JobConfig) -> None:
        """Be a job that nobody has asked for yet, by what the file says now; it is at rest."""
        self.config, self.is_suspended = config, False
        self.reports.is_replaced = False
        self._become(Life())

    def kill(self) -> None:
        """Stop it without any grace."""
        self._kill_asked = True
        self._patience.cancel()
        self.stop()

    @property
    def is_paused(self) -> bool:
        """Whether it runs, and is frozen."""
        return self.life.state is State.RUNNING and self.pause.is_on

    def freeze(self) -> None:
        """Pause what runs; nothing happens if it is paused.

        Raises:
            SetupError: It cannot be.
        """
        self.pause.begin(self._means.running[self.config.name])
        self._tell_changed()

    def thaw(self) -> None:
        """Let what is paused go on; nothing happens if it does.

        Raises:
            SetupError: It cannot be.
        """
        self.pause.end(self._means.running[self.config.name])
        self._tell_changed()

    async def wait_changed(self) -> None:
        """Wait until its state is another one, or it is paused, or goes on."""
        await self._changed.wait()

    async def wait_at_rest(self) -> None:
        """Wait until nothing of it is left, and nothing will be run again."""
        while not self.life.at_rest:
            await self._changed.wait()

    async def run(self) -> None:
        """Do what its state says, until cancelled."""
        while True:
            match self.life.state:
                case State.STARTING:
                    await self._pass_gate()
                    if self.life.state is State.STARTING:
                        await self._wait_for_output()
                    if self.life.state is State.STARTING:
                        await self._run_once()
                case State.BACKOFF:
                    with trio.move_on_at(self.life.retry_at) as wait:
                        await self._changed.wait()
                    if wait.cancelled_caught:
                        self._become(lifecycle.end_wait(self.life))
                case State.STOPPING:
                    # It waited for what it depends on: there is nothing to stop.
                    now = trio.current_time()
                    self._become(lifecycle.end_run(self.life, self.config, _NO_RUN, now, 0))
                case _:
                    await self._changed.wait()

    def _become(self, life: Life) -> None:
        if life == self.life:
            return
        self.life = life
        self._tell_changed()

    def _tell_changed(self) -> None:
        if self.life.state is State.STOPPING:
            self._to_stop.set()
            self._starting.cancel()
        self._changed.set()
        self._changed = trio.Event()
        self._follow(self)

    async def _pass_gate(self) -> None:
        """Wait for what it depends on, once for each time that somebody asks for it."""
        if self.life.attempt > 1 or not self.config.depends_on:
            return
        reason = ""
        async with until(self._changed.wait):
            reason = await self._gate(self.config)
        if reason and self.life.state is State.STARTING:
            self._become(lifecycle.skip(self.life, reason))
            self._log.warning("job.skipped", reason=reason)

    async def _wait_for_output(self) -> None:
        """Wait until what the last run printed is handed on, as long as somebody wants the next."""
        if (left := self._means.outputs.find_left(self.config.name)) is None:
            return
        self._become(lifecycle.hold_back(self.life, _HELD_BACK))
        self._log.warning("job.held_back", reason=self.life.reason)
        async with until(self._changed.wait):
            await left.wait_over()

    async def _run_once(self) -> None:
        """Be one run, from its pipes to their end."""
        self._kill_asked = self._is_unmade = False
        self._to_stop = trio.Event()
        self.pause = Pause()
        self.reports.begin()
        try:
            with (
                closing(make_notice(self.config)) as self.notice,
                closing(Pipes(self.config)) as pipes,
            ):
                pipes.write_ends += self.notice.hand_out()
                ending, ended_at = await self._relay_run(pipes)
        except IsolationError as error:
            self._fail(error)
            return
        if isinstance(ending, ExitStatus):
            if self.notice.good:
                self._become_ready()  # it said so, and ended
            self._end(ending, ended_at)
        else:
            self._fail(ending)

    async def _relay_run(self, pipes: Pipes) -> tuple[ExitStatus | IsolationError, float]:
        """Relay what a run prints to its end; return how it ended, or why it was not, and when."""
        output = self._means.outputs.open()
        ending = await self._contain(pipes, output)
        ended_at = trio.current_time()
        if not self.config.container.isolate:
            output.end_when_silent()  # what escaped may have the pipe open for ever
        async with until(self._lose_patience):
            await output.wait_handed_on()
        self._means.outputs.leave(output, self.config.name)
        return ending, ended_at

    async def _contain(self, pipes: Pipes, output: RunOutput) -> ExitStatus | IsolationError:
        """Make a container and accompany it until it is gone; return why there was none."""
        try:
            with await self._start(pipes) as container:
                self.pid = self.reports.pid = container.pid
                self._relay(pipes, container.pid, output)
                try:
                    return await self._attend(container, pipes, output)
                finally:
                    pipes.close()
                    self._means.running.pop(self.config.name, None)
                    self._means.reaper.forget(container.pid)
                    self.pid = self.kill_at = None
        except IsolationError as error:
            return error

    async def _start(self, pipes: Pipes) -> Container:
        """Start to make a container, unless the job is to stop, and there is nothing of it yet."""
        with trio.CancelScope() as self._starting:
            return await start(self.config, self._means, pipes)
        raise make_unwanted()

    def _relay(self, pipes: Pipes, pid: int, output: RunOutput) -> None:
        """Relay what the run prints in the background, until nobody can print any more."""
        sinks = self._means.sinks
        feed = self._means.feeds.open(self.config.name)
        for channel, fd in pipes.take_read_ends().items():
            source = Source(self.config.name, channel, pid, self.life.attempt)
            outlets = sinks.open_outlets(self.config, source)
            ways = Ways(outlets, self.ring, sinks.traffic, self.notice.see, feed, self.tally)
            output.relay(Relay(fd, source, ways, self.config.max_line), outlets)

    async def _attend(self, container: Container, pipes: Pipes, output: RunOutput) -> ExitStatus:
        """Accompany a container until it is gone."""
        refusal: IsolationError | None = None
        executed = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_when_asked, container, executed)
            try:
                await wait_executed(self.config, self._means, container)
                if self._is_unmade:
                    await trio.lowlevel.wait_readable(container.fileno())
                    raise make_unwanted()
            except IsolationError as error:
                refusal = error
            else:
                self._become(lifecycle.execute(self.life, trio.current_time()))
                self._log.info("job.started", pid=container.pid, attempt=self.life.attempt)
                executed.set()
                self._means.running[self.config.name] = container
                self.terminal = pipes.open_terminal(container, output)
                self.reports.tell_shortcomings(self.config, self.life, container.notes)
                self._follow_run(container, nursery)
                await trio.lowlevel.wait_readable(container.fileno())
            nursery.cancel_scope.cancel()
        if refusal is not None:
            raise refusal
        status = container.poll()
        self.reports.note_usage(container.cgroup.read_usage() if container.cgroup else Usage())
        if container.survivors:
            left = [f"{pid} {title}" for pid, title in container.survivors]
            self._log.warning("job.killed", pid=container.pid, survivors=left)
        if status is None:
            raise AssertionError(f"container {container.pid} is gone and is still there")
        return status

    def _follow_run(self, container: Container, nursery: trio.Nursery) -> None:
        """Do what goes on beside a run; most have little of it, and a task costs more than that."""
        if self.config.ready is None and self.config.alive is None:
            self._become_ready()
        else:
            nursery.start_soon(self.notice.follow, container)
            nursery.start_soon(self._probe, container)
        if self.config.tty:
            nursery.start_soon(resume, container)
        if self.config.timeout is not None:
            nursery.start_soon(self._end_in_time, container, self.config.timeout)

    async def _probe(self, container: Container) -> None:
        """Find out whether the run is ready, and then whether it is alive, until it is to stop."""
        config = self.config
        with trio.CancelScope() as self._probing:
            if self.life.state is not State.STARTING:
                return
            if config.ready is not None:
                reason = await wait_ready(config, container, self.notice)
                if reason:
                    # If it has ended, its own end is what follows; what it left gets its grace.
                    if not container.has_ended():
                        self._become(lifecycle.fail_start(self.life, reason))
                    return
            self._become_ready()
            if config.alive is not None:
                ask = partial(wait_dead, config, config.alive, container)
                reason = await self.pause.ask_meanwhile(ask)
                if not container.has_ended():
                    self._become(lifecycle.find_dead(self.life, reason))

    async def _end_in_time(self, container: Container, seconds: float) -> None:
        """Let the run fail once it has taken all the time that it may."""
        await trio.sleep(seconds)
        if not container.has_ended():
            self._become(lifecycle.take_too_long(self.life, seconds))

    def _become_ready(self) -> None:
        if self.life.state is State.STARTING:
            if self.config.ready is not None:
                self._log.info("job.ready", attempt=self.life.attempt)
            self._become(lifecycle.become_ready(self.life, trio.current_time()))

    async def _stop_when_asked(self, container: Container, executed: trio.Event) -> None:
        """Stop the run once its state says so: in order, and by force when its time is over."""
        await self._to_stop.wait()
        self._probing.cancel()
        grace = 0.0 if self._kill_asked else self.config.grace
        with trio.move_on_after(grace) as self._patience:
            self.kill_at = trio.current_time() + grace
            # Before that, nobody would hear the signal, nor is there anything to end in order.
            with trio.move_on_after(_EXECUTE_S):
                await executed.wait()
            if executed.is_set():
                reason = {"reason": self.life.reason} if self.life.reason else {}
                self._log.info("job.stopping", pid=container.pid, **reason)
                container.send_signal(self.config.stop_signal)
                with suppress(SetupError):  # what does not go on is killed after the grace period
                    self.pause.end(container)  # and not before: it would do more of what it did
                await trio.sleep_forever()
        self._is_unmade = not executed.is_set()
        await kill(self.config, self._means, container)

    async def _lose_patience(self) -> None:
        """Wait for as long as the end of a run may not be told."""
        with trio.move_on_after(_PATIENCE_S):
            while not (self.life.final or self.life.state is State.STOPPING):
                await self._changed.wait()
            await trio.sleep(_FINAL_PATIENCE_S if self.life.final else _STOP_PATIENCE_S)

    def _end(self, status: ExitStatus, now: float) -> None:
        """Let the state follow a run that ended just now, and say so."""
        before, self.status, self.terminal = self.life, status, None
        self._become(lifecycle.end_run(before, self.config, status, now, _CHANCE.random()))
        self.reports.tell_end(self.config, before, self.life, status, now)

    def _fail(self, error: IsolationError) -> None:
        """Let the state follow a start that was refused, and say so."""
        before, now = self.life, trio.current_time()
        self.status = ExitStatus(code=error.exit_code)
        self.reports.note_usage(Usage())
        life = lifecycle.refuse(before, str(error)) if isinstance(error, NoLimitsError) else before
        if life == before:
            life = lifecycle.end_run(life, self.config, self.status, now, _CHANCE.random())
        self._become(life)
        self.reports.tell_refusal(before, self.life, error, now)
