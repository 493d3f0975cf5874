"""What somebody wants of jobs, and what came of it, job by job.

A request changes the state of a job at once, see `jobs`; all that takes time here is to see what
becomes of it. So no request waits for another one, and of two that contradict each other the later
one wins, which the earlier one is told.
"""

import signal
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

import attrs
import trio

from mocker.isolation import Container

from ..jobs import Job
from ..lifecycle import State
from ..stopping import stop_in_order
from .problems import RequestError

ACTIONS = ("start", "stop", "restart", "kill", "signal")
_IN_BETWEEN = {State.STARTING, State.STOPPING}


@attrs.frozen
class Outcome:
    """What came of a request.

    Attributes:
        job: Its name.
        outcome: In a word or a few, as it is shown.
        ok: Whether it is what was asked for.
        reason: Why not.
    """

    job: str
    outcome: str
    ok: bool = True
    reason: str = ""


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


Tell = Callable[[Outcome], Awaitable[None]]


class Deed:
    """An action that has begun, on some jobs at the same time.

    Raises:
        RequestError: It is refused; nothing is done then.
    """

    def __init__(
        self,
        action: Action,
        jobs: Collection[Job],
        others: Iterable[Job],
        running: Mapping[str, Container],
    ) -> None:
        """Begin it, without waiting for anything.

        Args:
            action: What.
            jobs: Of which.
            others: All that there are.
            running: The containers whose commands are executed, by job.
        """
        if action.name == "stop" and not action.force:
            _check_unneeded(jobs, others)
        self._action = action
        self._followers = [_Follower(job, action, running.get(job.config.name)) for job in jobs]
        # In order, and so by and by, if somebody waits for that.
        self._to_stop = [job for job in jobs if not job.life.at_rest]
        if action.name != "stop" or not action.wait:
            self._to_stop = []
        for job in jobs:
            _begin(action, job)

    async def follow(self, tell: Tell) -> None:
        """Tell what came of each job, as soon as it is known.

        If this is cancelled, nobody is told any more; what was begun goes on.
        """

        async def follow_one(follower: _Follower) -> None:
            await tell(await follower.follow())

        async with trio.open_nursery() as stopping:
            if self._to_stop:
                stopping.start_soon(stop_in_order, self._to_stop)
            async with trio.open_nursery() as nursery:
                for follower in self._followers:
                    nursery.start_soon(follow_one, follower)
            # Of one that somebody has started again, it waits for the end.
            stopping.cancel_scope.cancel()


def parse_signal(text: str) -> int:
    """Return the number of a signal: "HUP", "SIGHUP" or "1".

    Raises:
        RequestError: There is none of that name.
    """
    name = text.upper()
    try:
        if name.isdecimal():
            return signal.Signals(int(name))
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except (KeyError, ValueError):
        raise RequestError("no-such-signal", 400, f"there is no signal {text!r}") from None


def _check_unneeded(jobs: Collection[Job], others: Iterable[Job]) -> None:
    names = {job.config.name for job in jobs}
    needing = [
        other.config.name
        for other in others
        if other.config.name not in names
        and not other.life.at_rest
        and names & other.config.depends_on.keys()
    ]
    if needing:
        text = f"cannot stop what others need: {', '.join(needing)}; stop these too, or force it"
        raise RequestError("needed", 409, text, needing)


def _begin(action: Action, job: Job) -> None:
    match action.name:
        case "start":
            job.start()
        case "restart":
            job.stop()
            job.start()
        case "kill":
            job.kill()
        case "stop" if not action.wait:
            job.stop()
        case _:
            pass


class _Follower:
    """What becomes of one job."""

    def __init__(self, job: Job, action: Action, container: Container | None) -> None:
        self._job, self._action, self._container = job, action, container
        self._before = job.life.state

    async def follow(self) -> Outcome:
        """Return what came of it, once it is known; where nobody waits, at once."""
        match self._action.name:
            case "signal":
                return self._send_signal()
            case "stop" | "kill":
                return await self._follow_stop()
            case _:
                return await self._follow_start()

    def _send_signal(self) -> Outcome:
        name = self._job.config.name
        if self._container is None:
            return Outcome(name, "not running", ok=False)
        self._container.send_signal(self._action.signal)
        return Outcome(name, f"{signal.Signals(self._action.signal).name} sent")

    async def _follow_stop(self) -> Outcome:
        job, name = self._job, self._job.config.name
        was_at_rest = self._before in {State.STOPPED, State.EXITED, State.FATAL}
        if was_at_rest and self._action.name == "kill":
            return Outcome(name, "not running", ok=False)
        if was_at_rest:
            return Outcome(name, "already stopped")
        if not self._action.wait:
            return Outcome(name, "stopping")
        # It is told to stop once those that depend on it are gone.
        while not job.life.at_rest:
            if job.life.state is State.STARTING and self._before is not State.STARTING:
                return Outcome(name, "started again", ok=False, reason="somebody else asked for it")
            await job.wait_changed()
        return Outcome(name, "killed" if self._action.name == "kill" else "stopped")

    async def _follow_start(self) -> Outcome:
        job, name, action = self._job, self._job.config.name, self._action.name
        if job.life.final:
            return Outcome(name, "not started", ok=False, reason="the supervisor is stopping")
        if action == "start" and self._before is State.RUNNING:
            return Outcome(name, "already started")
        while self._action.wait and job.life.state in _IN_BETWEEN:
            await job.wait_changed()
        life = job.life
        if life.state in {State.RUNNING, *_IN_BETWEEN}:
            done = "restarted" if action == "restart" else "started"
            return Outcome(name, done if self._action.wait else f"{action}ing")
        if life.state is State.EXITED and life.succeeded:
            return Outcome(name, "completed")
        if life.state is State.STOPPED and not life.skipped:
            return Outcome(name, "stopped", ok=False, reason="somebody else asked for that")
        outcome = "skipped" if life.skipped else "not started"
        reason = life.reason or ("" if job.status is None else f"it ended: {job.status}")
        return Outcome(name, outcome, ok=False, reason=reason)
