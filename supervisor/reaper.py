"""Who collects the children of this process when they end: jobs, and orphans that it adopts.

As PID 1, or as a subreaper, a process is given the children of all its descendants that end. Nobody
else waits for those, and each would stay as a zombie. SIGCHLD is no count of them: while one is
pending, further ones are lost. So each is taken as "at least one", and children are collected until
there is none.

One for the process: whoever collects just any child takes those of others too.

Source: waitid(2), signal(7), PR_SET_CHILD_SUBREAPER in prctl(2).
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import structlog
import trio

from mocker.isolation import ExitStatus
from mocker.isolation.exit_status import read_status
from mocker.isolation.syscalls import set_child_subreaper

log = structlog.get_logger("mocker.reaper")

_SLICE = 500  # children collected before others have their turn: a few milliseconds
_MOST_NAMED = 10  # orphans of a slice that are told one by one; 10,000 lines help nobody


@attrs.define
class _Watch:
    """A child that is known; its status is None as long as it is not collected here."""

    ended: trio.Event = attrs.field(factory=trio.Event)
    status: ExitStatus | None = None


class Reaper:
    """Collects every child that ends, wakes who waits for it, and logs those nobody knows.

    A child can end before whoever starts it has read its pid. So a start goes

        with reaper.starting():
            container = await starter.start(…)
            reaper.watch(container.pid)

    and each watch ends with `wait` or `forget`.
    """

    def __init__(self) -> None:
        self._watched: dict[int, _Watch] = {}
        self._starts = 0
        # Ended during a start: orphans, or what is being started.
        self._unclaimed: dict[int, ExitStatus] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Collect children until cancelled; those that ended earlier come first."""
        with trio.open_signal_receiver(signal.SIGCHLD) as arrivals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            task_status.started()
            await self._collect_all()
            async for _ in arrivals:
                await self._collect_all()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Take no child that ends during the block for an orphan before the block is over."""
        self._starts += 1
        try:
            yield
        finally:
            self._starts -= 1
            if not self._starts:
                orphans, self._unclaimed = self._unclaimed, {}
                _tell(list(orphans.items()))

    def watch(self, pid: int) -> None:
        """Remember a new child; to be called in the block of `starting` in which it was made."""
        watch = self._watched[pid] = _Watch()
        # If it is still there, then what was collected was an orphan that had its number before.
        if pid in self._unclaimed and not _is_child(pid):
            watch.status = self._unclaimed.pop(pid)
            watch.ended.set()

    def forget(self, pid: int) -> None:
        """End a watch: whoever started the child has waited for it without the reaper."""
        if watch := self._watched.pop(pid, None):
            watch.ended.set()

    async def wait(self, pid: int) -> ExitStatus | None:
        """Wait until a child that is watched has been collected, and end the watch.

        Returns:
            How it ended; None if that is unknown here, because somebody else waited for it.
        """
        watch = self._watched.get(pid)
        if watch is None:
            await trio.lowlevel.checkpoint()
            return None
        if not watch.ended.is_set() and not _is_child(pid):
            watch.ended.set()
        await watch.ended.wait()
        self._watched.pop(pid, None)
        return watch.status

    async def _collect_all(self) -> None:
        """Collect until there is nothing left to collect."""
        more = True
        while more:
            await trio.lowlevel.checkpoint()
            orphans: list[tuple[int, ExitStatus]] = []
            more = self._collect(orphans)
            _tell(orphans)

    def _collect(self, orphans: list[tuple[int, ExitStatus]]) -> bool:
        """Collect a slice of what there is, and return whether there may be more."""
        for _ in range(_SLICE):
            try:
                result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
            except ChildProcessError:
                return False
            if result is None:
                return False
            status = read_status(result)
            if watch := self._watched.get(result.si_pid):
                watch.status = status
                watch.ended.set()
            elif self._starts:
                self._unclaimed[result.si_pid] = status
            else:
                orphans.append((result.si_pid, status))
        return True


def become_subreaper() -> None:
    """Adopt what the descendants of this process leave behind; PID 1 does so in any case."""
    set_child_subreaper()


def _tell(orphans: list[tuple[int, ExitStatus]]) -> None:
    for pid, status in orphans[:_MOST_NAMED]:
        if status.signal is None:
            log.info("orphan.reaped", pid=pid, exit_code=status.code)
        else:
            log.info("orphan.reaped", pid=pid, signal=str(status))
    if more := orphans[_MOST_NAMED:]:
        log.info("orphan.reaped", count=len(more))


def _is_child(pid: int) -> bool:
    """Whether this is a child of the process that nobody has waited for, ended or not."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
