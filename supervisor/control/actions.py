"""What somebody wants of jobs, and what came of it, job by job.

A request changes the state of a job at once, see `jobs`, or orders that, see `stop_orders`; all
that takes time here is to see what becomes of it. So no request waits for another one, and of two
that contradict each other the later one wins, which the earlier one is told.
"""

import math
import signal
from collections.abc import Awaitable, Callable, Collection, Mapping

import attrs
import trio

from mocker.isolation import Container, ExitStatus, SetupError

from ..container_words import parse_signal as find_signal
from ..dependencies import find_affected
from ..jobs import Job
from ..lifecycle import AT_REST, After, State
from ..stop_orders import StopOrder, StopOrders
from .problems import RequestError

ACTIONS = ("start", "stop", "restart", "kill", "pause", "resume", "signal")
IN_BETWEEN = frozenset({State.STARTING, State.STOPPING})
OTHERS_WISH = "somebody else asked for that"
STILL_FREEZING = "some of it waits in the kernel, and is frozen as soon as it does not"
AT_THE_END = "the supervisor is stopping, or a reload replaces it"
# Seconds that a run has to go on if nobody asks whether it is ready: most that cannot work end
# sooner. supervisord and pebble have the same.
_STARTED_S = 1.0
_WRITTEN_S = 5.0  # for what it has printed to be written, if it was short
# What a container's init cannot hand on to the command.
_NOT_SENT = {int(signal.SIGKILL): "kill", int(signal.SIGSTOP): "", int(signal.SIGCHLD): ""}


@attrs.frozen
class Outcome:
    """What came of a request.

    Attributes:
        job: Its name.
        outcome: In a word or a few, as it is shown.
        ok: Whether it is what was asked for.
        reason: Why not.
        last_lines: What the run that failed to start has said last.
    """

    job: str
    outcome: str
    ok: bool = True
    reason: str = ""
    last_lines: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Action:
    """What is wanted.

    Attributes:
        name: One of ACTIONS.
        signal: Which one is to be sent, for "signal".
        wait: Whether to wait until it is done.
        force: Whether to stop what others need.
    """

    name: str
    signal: int = 0
    wait: bool = True
    force: bool = False

    @property
    def may_last(self) -> bool:
        """Whether what comes of it may take time to be seen."""
        return self.wait and self.name not in {"signal", "resume"}


TellOutcome = Callable[[Outcome], Awaitable[None]]
Follow = Callable[[TellOutcome], Awaitable[None]]


class Deed:
    """An action that has begun, on some jobs at the same time.

    Raises:
        RequestError: It is refused; nothing is done then.
    """

    def __init__(
        self,
        action: Action,
        jobs: Collection[Job],
        others: Collection[Job],
        stops: StopOrders,
        running: Mapping[str, Container],
    ) -> None:
        """Begin it, without waiting for anything.

        Args:
            action: What.
            jobs: Of which.
            others: All that there are.
            stops: Who stops jobs in order.
            running: The containers whose commands are executed, by job.
        """
        if action.name == "stop" and not action.force:
            _check_unneeded(jobs, others)
        before = {job: _Before(job.life.state, _is_scheduled(job)) for job in jobs}
        orders: Mapping[Job, StopOrder] = {}
        if action.name == "stop":
            orders = stops.give(jobs, others)
        for job in jobs:
            _begin(action, job, stops)
        self._may_last = action.may_last
        self._followers = [
            _Follower(job, action, before[job], orders.get(job), running.get(job.config.name))
            for job in jobs
        ]

    async def follow(self, tell: TellOutcome) -> None:
        """Tell what came of each job, as soon as it is known.

        If this is cancelled, nobody is told any more; what was begun goes on.
        """

        async def follow_one(follower: _Follower) -> None:
            await tell(await follower.follow())

        if not self._may_last:
            for follower in self._followers:
                await follow_one(follower)
            return
        async with trio.open_nursery() as nursery:
            for follower in self._followers:
                nursery.start_soon(follow_one, follower)


def parse_signal(text: str) -> int:
    """Return the number of a signal: "HUP", "SIGHUP", "RTMIN+3" or "1".

    Raises:
        RequestError: There is none of that name, or it cannot be sent.
    """
    try:
        number = find_signal(text)
    except ValueError:
        raise RequestError("no-such-signal", 400, f"there is no signal {text[:20]!r}") from None
    if number in _NOT_SENT:
        hint = f"; 'mocker {_NOT_SENT[number]}' does that" if _NOT_SENT[number] else ""
        text = f"cannot send {ExitStatus(signal=number)} to a command in a container{hint}"
        raise RequestError("no-such-signal", 400, text)
    return number


async def wait_started(job: Job, in_between: Collection[State] = IN_BETWEEN) -> None:
    """Wait until it is known whether a job has started, and will not be known better soon.

    Args:
        job: Which.
        in_between: The states in which it is not known yet.
    """
    while True:
        life, until = job.life, math.inf
        if life.state not in in_between:
            if (
                life.state is not State.RUNNING
                or life.began is None
                or job.config.ready is not None
            ):
                return
            # Once it is gone, how it ended is known when what it has printed is written.
            until = life.began + _STARTED_S + (_WRITTEN_S if job.pid is None else 0)
        was_there = job.pid is not None
        with trio.move_on_at(until) as patience:
            await job.wait_changed()
        if patience.cancelled_caught and job.life is life and was_there is (job.pid is not None):
            return


def describe_start(job: Job, word: str) -> Outcome:
    """Return what came of a job that was to run, once it is known, see `wait_started`.

    Args:
        job: Which.
        word: For what runs, or has run.
    """
    name, life = job.config.name, job.life
    if life.state is State.RUNNING or has_run(job):
        return Outcome(name, word)
    if life.state is State.EXITED and life.succeeded:
        return Outcome(name, "completed")
    return describe_failure(job)


def describe_failure(job: Job) -> Outcome:
    """Return what came of a job that was to run, and neither does nor has ended well."""
    name, life = job.config.name, job.life
    if life.state is State.STOPPED and not life.skipped:
        reason = AT_THE_END if life.final else OTHERS_WISH
        return Outcome(name, "stopped", ok=False, reason=reason)
    if life.skipped:
        return Outcome(name, "skipped", ok=False, reason=life.reason)
    ended = "" if job.status is None else f"it ended: {job.status}"
    reason = job.reports.refusal or life.reason or ended
    last_lines = tuple(job.reports.list_last_lines())
    return Outcome(name, "not started", ok=False, reason=reason, last_lines=last_lines)


def _check_unneeded(jobs: Collection[Job], others: Collection[Job]) -> None:
    """Refuse to stop what others need that run, by themselves or through others."""
    going = {job.config.name for job in jobs}
    alive = {
        other.config.name: other.config.depends_on
        for other in others
        if not _is_gone_or_leaving(other)
    }
    graph = {name: [other for other in needed if other in alive] for name, needed in alive.items()}
    affected = find_affected(graph, [name for name in graph if name in going])
    needing = [name for name in graph if name in affected - going]
    if needing:
        wanted = ", ".join(job.config.name for job in jobs)
        text = (
            f"cannot stop {wanted}: needed by {', '.join(needing)}; stop these too, or use --force"
        )
        raise RequestError("needed", 409, text, needing)


def has_run(job: Job) -> bool:
    """Tell whether a job has started, has ended since, and will be run again after a while."""
    life, status = job.life, job.status
    if life.state is not State.BACKOFF or life.ready_at is None:
        return False
    is_good = not life.reason and status is not None and status.code in job.config.success_codes
    return is_good or job.config.ready is not None


def _is_gone_or_leaving(job: Job) -> bool:
    """Tell whether a job is at rest, or about to be."""
    life = job.life
    return life.at_rest or (life.state is State.STOPPING and life.after is After.REST)


def _is_scheduled(job: Job) -> bool:
    """Tell whether the clock will ask for a job."""
    return job.config.schedule is not None and not job.is_suspended and not job.life.final


def _begin(action: Action, job: Job, stops: StopOrders) -> None:
    match action.name:
        case "start":
            stops.withdraw(job)
            job.is_suspended = False
            job.start()
        case "restart" if not job.life.final:
            stops.withdraw(job)
            job.is_suspended = False
            job.stop()
            job.start()
        case "stop":
            job.is_suspended = job.config.schedule is not None
        case "kill":
            job.is_suspended |= job.config.schedule is not None and not job.life.at_rest
            job.kill()
        case _:
            pass


@attrs.frozen
class _Before:
    """What a job was when something was asked of it."""

    state: State
    is_scheduled: bool


class _Follower:
    """What becomes of one job."""

    def __init__(
        self,
        job: Job,
        action: Action,
        before: _Before,
        order: StopOrder | None,
        container: Container | None,
    ) -> None:
        self._job, self._action, self._before = job, action, before
        self._order, self._container = order, container

    async def follow(self) -> Outcome:
        """Return what came of it, once it is known; where nobody waits, at once."""
        match self._action.name:
            case "signal":
                return self._send_signal()
            case "pause" | "resume":
                return await self._follow_pause()
            case "stop" | "kill":
                return await self._follow_stop()
            case _:
                return await self._follow_start()

    def _send_signal(self) -> Outcome:
        name = self._job.config.name
        if self._container is None:
            return Outcome(name, "not running", ok=False)
        self._container.send_signal(self._action.signal)
        return Outcome(name, f"{ExitStatus(signal=self._action.signal)} sent")

    async def _follow_pause(self) -> Outcome:
        job, name, container = self._job, self._job.config.name, self._container
        wished = f"{self._action.name}d"
        if container is None or job.life.state is not State.RUNNING:
            reason = "" if container is None else f"it is {job.life.state.value}"
            outcome = "not running" if container is None else f"not {wished}"
            return Outcome(name, outcome, ok=False, reason=reason)
        if job.is_paused is (self._action.name == "pause"):
            return Outcome(name, f"already {'paused' if job.is_paused else 'running'}")
        try:
            if self._action.name == "resume":
                job.thaw()
                return Outcome(name, wished)
            job.freeze()
        except SetupError as error:
            return Outcome(name, f"not {wished}", ok=False, reason=str(error))
        if self._action.wait and not await job.pause.wait_frozen(container):
            reason = STILL_FREEZING if job.is_paused else OTHERS_WISH
            return Outcome(name, f"not {wished}", ok=False, reason=reason)
        return Outcome(name, wished)

    async def _follow_stop(self) -> Outcome:
        job, name = self._job, self._job.config.name
        is_kill = self._action.name == "kill"
        if self._before.state in AT_REST:
            if is_kill:
                return Outcome(name, "not running", ok=False)
            return Outcome(name, "stopped" if self._before.is_scheduled else "already stopped")
        if not self._action.wait:
            return Outcome(name, "stopping")
        if self._order is not None and not await self._order.wait_settled():
            return Outcome(name, "not stopped", ok=False, reason=OTHERS_WISH)
        while not job.life.at_rest:
            if not _is_gone_or_leaving(job):
                return Outcome(name, "started again", ok=False, reason=OTHERS_WISH)
            await job.wait_changed()
        return Outcome(name, "killed" if is_kill else "stopped")

    async def _follow_start(self) -> Outcome:
        job, name, action = self._job, self._job.config.name, self._action.name
        if job.life.final:
            return Outcome(name, f"not {action}ed", ok=False, reason=AT_THE_END)
        if action == "start" and self._before.state is State.RUNNING:
            if job.is_paused:
                reason = f"it is paused; 'mocker resume {name}' ends that"
                return Outcome(name, "not started", ok=False, reason=reason)
            return Outcome(name, "already started")
        if self._action.wait:
            await wait_started(job)
            return describe_start(job, f"{action}ed")
        if job.life.state in IN_BETWEEN:
            return Outcome(name, f"{action}ing")
        return describe_start(job, f"{action}ing")
