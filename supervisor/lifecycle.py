"""What becomes of a job when something happens to it: the restart rules, and nothing else.

Two rules hold this file together. Everything about the state of a job is in `Life`, and each thing
that can happen is one function from the old `Life` to the new one. What is to be done follows from
the state alone:

    STOPPED   nothing: nobody asked for it, or it was stopped or skipped
    STARTING  wait for what it depends on, make the container, wait until it is ready
    RUNNING   watch
    BACKOFF   wait until `retry_at`
    STOPPING  send the stop signal, wait for the grace period, kill
    EXITED    nothing: it ended on its own and is not to be run again
    FATAL     nothing: it was given up

So whoever carries a state out may be interrupted by a new one at any moment, and what happens out
of turn (an exit in the same instant as a stop, a stop in the middle of a restart) changes nothing
or has its line in a function. Nothing here waits, looks at a clock or rolls dice: the time, in
seconds of a monotonic clock, and the random part of a wait are arguments.

The states are supervisord's; the waits are pebble's; the counters start anew as Docker's do.
"""

import enum

import attrs

from mocker.isolation import ExitStatus

from .config import JobConfig


class State(enum.Enum):
    """Where a job is in its life."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    BACKOFF = "BACKOFF"
    STOPPING = "STOPPING"
    EXITED = "EXITED"
    FATAL = "FATAL"


class After(enum.Enum):
    """What follows once a job that is STOPPING is gone."""

    REST = "rest"
    START = "start"
    FAILURE = "failure"


AT_REST = frozenset({State.STOPPED, State.EXITED, State.FATAL})


@attrs.frozen(kw_only=True)
class Life:
    """Everything about the state of a job.

    Attributes:
        state: See above.
        reason: Why it is in this state; empty where that goes without saying.
        attempt: The number of the run, counted since somebody asked for the job; 0 before that.
        began: When the present run, or the last one, was executed; None if it was not.
        delay: Seconds of the last wait, jitter apart; None if the next is the first.
        retry_at: When the wait is over; BACKOFF alone.
        failures: When the runs ended that count against `give_up`.
        after: What follows; STOPPING alone.
        ready_at: When the present run, or the last one, became ready; None if it did not.
        succeeded: Whether it ended well, of a job at rest; None if it did not end on its own.
        final: Whether no further run may follow: the supervisor is stopping, or the job leaves with
            a reload.
    """

    state: State = State.STOPPED
    reason: str = ""
    attempt: int = 0
    began: float | None = None
    delay: float | None = None
    retry_at: float = 0.0
    failures: tuple[float, ...] = ()
    after: After = After.REST
    ready_at: float | None = None
    succeeded: bool | None = None
    final: bool = False

    @property
    def at_rest(self) -> bool:
        """Whether nothing will happen to it until somebody asks."""
        return self.state in AT_REST

    @property
    def stopped(self) -> bool:
        """Whether it is not run because somebody asked for that, and may ask for it again."""
        asked = self.state is State.STOPPED and self.attempt > 0
        return asked and self.succeeded is None and not self.final

    @property
    def skipped(self) -> bool:
        """Whether it is not run because what it depends on will never be so."""
        return self.state is State.STOPPED and self.succeeded is False


def ask_start(life: Life) -> Life:
    """Somebody wants the job to run: whatever was counted against it is forgotten.

    Asked for while the job is STOPPING, it makes that a restart.
    """
    if life.final or life.state in {State.STARTING, State.RUNNING}:
        return life
    if life.state is State.STOPPING:
        return attrs.evolve(life, after=After.START)
    return Life(state=State.STARTING, attempt=1)


def ask_stop(life: Life) -> Life:
    """Somebody wants the job not to run; this wins over a start that is under way."""
    if life.state in {State.STARTING, State.RUNNING}:
        return attrs.evolve(life, state=State.STOPPING, after=After.REST, reason="")
    if life.state is State.STOPPING:
        return attrs.evolve(life, after=After.REST)
    if life.state is State.BACKOFF:
        return attrs.evolve(life, state=State.STOPPED, reason="")
    return life


def retire(life: Life) -> Life:
    """The job is about to leave: what runs may go on, and nothing is run again."""
    life = attrs.evolve(life, final=True)
    waits = life.state is State.STARTING and life.began is None
    return ask_stop(life) if waits or life.state is State.BACKOFF else life


def skip(life: Life, reason: str) -> Life:
    """What it depends on will never be so."""
    if life.state is not State.STARTING:
        return life
    return attrs.evolve(life, state=State.STOPPED, reason=reason, succeeded=False)


def hold_back(life: Life, reason: str) -> Life:
    """The next run has to wait for something else than what the job depends on."""
    if life.state is not State.STARTING:
        return life
    return attrs.evolve(life, reason=reason)


def execute(life: Life, now: float) -> Life:
    """The command of this run is executed."""
    return attrs.evolve(life, began=now, reason="")


def become_ready(life: Life, now: float) -> Life:
    """The run is ready, which it is once executed if nobody asks it."""
    if life.state is not State.STARTING:
        return life
    return attrs.evolve(life, state=State.RUNNING, ready_at=now)


def fail_start(life: Life, reason: str) -> Life:
    """The run is executed and will not become ready, such as for its time being over."""
    if life.state is not State.STARTING:
        return life
    return attrs.evolve(life, state=State.STOPPING, after=After.FAILURE, reason=reason)


def find_dead(life: Life, reason: str) -> Life:
    """The run does not answer any more."""
    if life.state is not State.RUNNING:
        return life
    return attrs.evolve(life, state=State.STOPPING, after=After.FAILURE, reason=reason)


def take_too_long(life: Life, seconds: float) -> Life:
    """The run has taken all the time that it may."""
    if life.state not in {State.STARTING, State.RUNNING}:
        return life
    reason = f"it took longer than {seconds:g} s"
    return attrs.evolve(life, state=State.STOPPING, after=After.FAILURE, reason=reason)


def end_wait(life: Life) -> Life:
    """The wait before the next run is over."""
    if life.state is not State.BACKOFF:
        return life
    return _begin(life, life.attempt + 1)


def end_run(life: Life, job: JobConfig, status: ExitStatus, now: float, chance: float) -> Life:
    """Nothing of the run is left; or there was none, because it could not be started.

    Args:
        life: That of the job until now.
        job: The rules.
        status: How the command ended; of a start that was refused, the error's exit code.
        now: When.
        chance: 0 to 1, at random, for the jitter.
    """
    if life.state is State.STOPPING and life.after is not After.FAILURE:
        if life.after is After.START and not life.final:
            return Life(state=State.STARTING, attempt=1)
        return attrs.evolve(life, state=State.STOPPED)
    reason = life.reason if life.state is State.STOPPING else ""
    failed = bool(reason) or life.began is None or status.code not in job.success_codes
    if status.code is not None and status.code in job.permanent_codes:
        return _give_up(life, f"exit code {status.code} is permanent")
    wanted = job.restart == "always" or (failed and job.restart == "on-failure")
    if not failed and job.kind == "oneshot":
        wanted = False
    if wanted and not life.final:
        return _back_off(life, job, now, chance, failed=failed)
    if life.began is None and not life.final:
        return _give_up(life, "it could not be started, and is not to be restarted")
    return attrs.evolve(life, state=State.EXITED, reason=reason, succeeded=not failed)


def refuse(life: Life, reason: str) -> Life:
    """What the run needs can't be had here, however often it is tried."""
    if life.state is not State.STARTING:
        return life
    return _give_up(life, reason)


def meets(life: Life, condition: str) -> bool | None:
    """Tell whether a job is what another one waits for it to be.

    Args:
        life: That of the job.
        condition: "started", "ready", "completed" or "exited".

    Returns:
        None if it is not so yet, False if it will not be so until somebody asks.
    """
    ended = life.state in {State.EXITED, State.FATAL}
    match condition:
        case "started":
            met = life.began is not None and life.state not in {State.STOPPED, State.FATAL}
        case "ready":
            met = life.state is State.RUNNING or (
                life.ready_at is not None and life.succeeded is True
            )
        case "completed":
            met = life.succeeded is True
        case _:
            met = ended and life.began is not None
    if met:
        return True
    return False if life.at_rest and life.attempt else None


def _back_off(life: Life, job: JobConfig, now: float, chance: float, *, failed: bool) -> Life:
    """Choose when the next run begins, or give the job up."""
    backoff = job.backoff
    delay, failures = life.delay, life.failures
    # Not from its beginning: a run that takes long and never gets ready is no good sign.
    if life.ready_at is not None and now - life.ready_at >= max(backoff.reset_after, delay or 0.0):
        delay = None
    if failed:
        failures = (*failures, now)
    if job.give_up is not None:
        # No more are kept than count: an endless crash loop must not make the tuple endless.
        failures = tuple(t for t in failures if now - t <= job.give_up.within)
        if len(failures) >= job.give_up.failures:
            noun = "failure" if len(failures) == 1 else "failures"
            reason = f"{len(failures)} {noun} within {job.give_up.within:g} s"
            return _give_up(life, reason)
    else:
        failures = ()
    delay = backoff.initial if delay is None else delay * backoff.factor
    delay = min(delay, backoff.max)
    return attrs.evolve(
        life,
        state=State.BACKOFF,
        reason=life.reason if life.state is State.STOPPING else "",
        delay=delay,
        retry_at=now + delay * (1 + backoff.jitter * chance),
        failures=failures,
    )


def _give_up(life: Life, reason: str) -> Life:
    return attrs.evolve(life, state=State.FATAL, reason=reason, succeeded=False)


def _begin(life: Life, attempt: int) -> Life:
    return attrs.evolve(
        life, state=State.STARTING, reason="", attempt=attempt, began=None, ready_at=None
    )
