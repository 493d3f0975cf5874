"""What is said about a run of a job: how it ended, why, and what comes next, as events."""

from collections.abc import Iterable, Mapping

import structlog

from mocker.isolation import ExitStatus, IsolationError
from mocker.isolation.cgroups import Usage

from .config import JobConfig
from .lifecycle import After, Life, State
from .line_ring import LineRing

_NOT_ISOLATED = "it is a process of the host like any other: isolate = false"
_TAIL_LINES = 20  # that are shown of a run that failed


class RunReports:
    """What tells of the runs of one job.

    Attributes:
        pid: Of the last run, whose lines are shown if it failed; None before there is one.
        usage: What it has taken, known at its end.
        oom_kills: How many processes of all runs the kernel has killed for want of memory.
        oom_killed: Whether any of the last one that is over.
        refusal: Why it could not be started; empty if it could, or has not been told yet.
        is_replaced: Whether the job is run by another file once it is gone.
    """

    def __init__(self, job: str, ring: LineRing) -> None:
        """Tell of a job.

        Args:
            job: Its name.
            ring: The last lines of its runs.
        """
        self.pid: int | None = None
        self.usage, self.refusal = Usage(), ""
        self.oom_kills, self.oom_killed = 0, False
        self.is_replaced = False
        self._ring = ring
        self._log = structlog.get_logger("mocker.jobs", job=job)

    def begin(self) -> None:
        """Begin with a run, of which nothing is known yet."""
        self.pid, self.usage, self.refusal = None, Usage(), ""

    def note_usage(self, usage: Usage) -> None:
        """Note what a run that is over has taken."""
        self.usage = usage
        self.oom_kills += usage.oom_kills
        self.oom_killed = usage.oom_kills > 0

    def tell_shortcomings(self, config: JobConfig, life: Life, notes: Iterable[str]) -> None:
        """Say what is not as somebody might believe, once each time the job is asked for.

        Args:
            config: Of the job.
            life: Its state.
            notes: Those of the container.
        """
        if life.attempt > 1:
            return
        if not config.container.isolate:
            self._log.warning("job.degraded", reason=_NOT_ISOLATED)
        for note in notes:
            self._log.warning("job.degraded", reason=note)

    def tell_end(
        self, config: JobConfig, before: Life, life: Life, status: ExitStatus, now: float
    ) -> None:
        """Tell that a run has ended just now.

        Args:
            config: Of the job.
            before: Its state until then.
            life: Its state now.
            status: How the command ended.
            now: When, in trio's time.
        """
        uptime = now - (now if before.began is None else before.began)
        facts = {**_describe(status), "uptime_s": round(uptime, 3), **self._find_next(life, now)}
        if self.usage.oom_kills:
            facts |= {"oom_killed": True, "memory_peak_bytes": self.usage.memory_peak}
        if before.state is State.STOPPING and before.after is not After.FAILURE:
            self._log.info("job.stopped", **facts)
            return
        if before.reason:
            facts["reason"] = before.reason
        is_good = status.code in config.success_codes and not before.reason
        ready_for = None if before.ready_at is None else now - before.ready_at
        has_started = ready_for is not None and (is_good or ready_for >= config.backoff.reset_after)
        if not has_started and life.state is not State.FATAL:  # else the next event shows them
            facts |= self._show_last_lines()
        if is_good:
            self._log.info("job.exited", **facts)
        else:
            self._log.warning("job.exited", **facts)
        self._tell_if_given_up(life)

    def tell_refusal(self, before: Life, life: Life, error: IsolationError, now: float) -> None:
        """Tell that a start was refused just now; arguments as above."""
        self.refusal = str(error)
        if before.state is State.STOPPING:
            self._log.info("job.stopped", **self._find_next(life, now))
            return
        facts = {**self._find_next(life, now), **self._show_last_lines()}
        self._log.warning("job.start_failed", reason=str(error), **facts)
        self._tell_if_given_up(life)

    def list_last_lines(self) -> list[str]:
        """Return what the last run has said last; nothing if there was none."""
        lines = self._ring.list_last(_TAIL_LINES, self.pid) if self.pid else []
        return [line.decode(errors="replace") for line in lines]

    def _tell_if_given_up(self, life: Life) -> None:
        if life.state is State.FATAL:
            facts = {"reason": life.reason, "attempt": life.attempt}
            self._log.error("job.given_up", **facts, **self._show_last_lines())

    def _find_next(self, life: Life, now: float) -> Mapping[str, object]:
        """Return what follows on something that happened just now, as facts of an event."""
        if self.is_replaced:
            return {"next": "restart", "reason": "the file has changed"}
        match life.state:
            case State.STARTING:
                return {"next": "restart"}
            case State.BACKOFF:
                return {"next": "restart", "delay_s": round(life.retry_at - now, 3)}
            case _:
                return {"next": "nothing"}

    def _show_last_lines(self) -> dict[str, list[str]]:
        """Return what the last run said at its end, as a fact of an event; none if nothing."""
        lines = self.list_last_lines()
        return {"last_lines": lines} if lines else {}


def _describe(status: ExitStatus) -> dict[str, object]:
    """Return how a command ended, as a fact of an event."""
    if status.signal is None:
        return {"exit_code": status.code}
    return {"signal": str(status)}
