"""What is on its way to one place where lines end up, and how it gets there however slow that is.

A target is written to by worker threads, one call for all that has gathered meanwhile; one that can
never hang is written to on the spot. Nobody waits for it but those whose lines it does not take.
What it refuses is kept and tried again, more rarely each time; that it does not work is said once,
and so is that it works again.

Memory is bounded three times: one sink takes no more when it has as much as makes it fast, though
where jobs take turns a few that have nothing on their way may still come; when all of them together
have much, whoever has more for one waits for its turn, until some is written; and what does not
move for a second is left out of that, as it must hold up nobody else, until that is too much as
well: then each sink takes a little, and no more before that is written.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import structlog
import trio

from mocker.isolation.errors import render_reason

from .lanes import Lane, Lanes
from .traffic import STUCK_S, Traffic

log = structlog.get_logger("mocker.sinks")

_MOST = 2**20  # bytes on their way to one target: two chunks of a pipe that is full, as JSON
_MOST_IN_TURNS = 2 * _MOST  # of all jobs that take turns at one target
_PORTION = 32  # entries, one job's turn; journald spends a third of a millisecond on them
_FIRST_RETRY_S, _LAST_RETRY_S = 0.02, 2.0
_BREATH_S = 0.005  # for a target that seems to have room and takes nothing
_NO_THREAD_S = 0.1  # before the next try to get one
_STALL_S = 5.0  # for which a target may be busy without a word about it


class Target(Protocol):
    """A file or a socket: it never waits, but for the disk, and is used by one thread at a time.

    Attributes:
        may_hang: Whether it may wait for a disk. If not, it is not written to by a thread: one that
            makes a system call for each piece waits for the interpreter after each.
    """

    may_hang: bool

    @property
    def fd(self) -> int | None:
        """What becomes writable when there is room again, after an EAGAIN; None if nothing."""

    def write(self, pieces: list[bytes]) -> tuple[list[bytes], OSError | None]:
        """Write pieces in order, opening what it takes; return what is not written, and why."""

    def reopen(self) -> None:
        """Open everything anew at the next write."""

    def close(self) -> None:
        """Let go of everything, until another write."""


class Sink:
    """What is on its way to one target.

    Attributes:
        name: As events have it.
        users: How many may still put something.
        waiting: Bytes that are on their way.
        lost: Lines that will never be written.
        over: Happens when the target will never take anything any more.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        traffic: Traffic,
        *,
        final: Collection[int] = (),
        entry: bytes | None = None,
        find_trouble: Callable[[], OSError | None] = lambda: None,
    ) -> None:
        """Make a sink to which nothing is on its way.

        Args:
            name: As events have it.
            target: Where to.
            traffic: What all sinks share.
            final: Kernel's reasons after which the target will never take anything: what comes then
                is lost, so that nobody waits for ever.
            entry: If each piece is to be written by itself: what each line has once in it, and
                nothing else has. The jobs take turns then. Other pieces are bytes that can be put
                together, and are written in the order in which they come.
            find_trouble: Tells what is wrong with a target that takes everything nevertheless.
        """
        self.name = name
        self.users = 0
        self.waiting = 0
        self.lost = 0
        self.over = trio.Event()
        self._target = target
        self._traffic = traffic
        self._final = final
        self._entry = entry
        self._find_trouble = find_trouble
        self._lanes = Lanes(None if entry is None else _PORTION)
        self._in_thread: list[bytes] = []
        self._is_stuck = False  # and left out of the traffic that moves
        self._moved_at = 0.0
        self._arrival = trio.Event()
        self._relief = trio.Event()
        self._retry = trio.Event()
        self._is_last_try = False
        self._failing_since: float | None = None
        self._told: float | None = None  # since when it has failed, if that was said
        self._trouble = ""  # that was said last

    @property
    def standstill_s(self) -> float:
        """Seconds for which nothing has been written, though something is on its way."""
        return trio.current_time() - self._moved_at if self.waiting else 0.0

    def is_full(self, job: str = "") -> bool:
        """Tell whether it should be given nothing for now by a job."""
        is_slow = self._is_stuck or self._traffic.is_clogged
        has_lane = self._lanes.find(job).waiting > 0
        most = _MOST_IN_TURNS if not has_lane else 1 if is_slow else _MOST
        return self.waiting >= most

    async def wait_room(self, job: str = "") -> None:
        """Wait until it is not full for a job; of its channels, the one that came first is first.

        What follows without waiting for anything else may be put.
        """
        lane = self._lanes.find(job)
        async with lane.turn:
            while self.is_full(job):
                with trio.move_on_after(_STALL_S) as wait:
                    await (lane.progress if lane.waiting else self._relief).wait()
                if wait.cancelled_caught:
                    self._tell_failure(f"it has taken nothing for {_STALL_S:g} s")

    def put(self, pieces: list[bytes], job: str = "") -> None:
        """Have pieces of a job's written, each of them whole lines; never waits."""
        size = sum(map(len, pieces))
        if not self.waiting:
            self._moved_at = trio.current_time()
        self._lanes.put(self._lanes.find(job), pieces, size)
        self.waiting += size
        self._count(size)
        self._arrival.set()

    async def flush(self, patience: float, job: str = "") -> bool:
        """Wait until all that a job has put by now is written, and return whether it is.

        Args:
            patience: Seconds to wait at most, for a target that works.
            job: Its name.
        """
        lane = self._lanes.find(job)
        upto = lane.taken
        with trio.move_on_after(patience):
            while lane.gone < upto and self._told is None:
                await lane.progress.wait()
        return lane.gone >= upto

    async def wait_written(self) -> None:
        """Wait until nothing is on its way any more, however long that takes."""
        while busy := [lane for lane in self._lanes if lane.waiting]:
            await busy[0].progress.wait()

    async def drain(self, patience: float) -> None:
        """Try a last time to write everything; what is left then is lost, and that is told.

        Args:
            patience: Seconds to wait at most.
        """
        self._is_last_try = True
        self._retry.set()
        with trio.move_on_after(patience):
            await self.wait_written()
        self.lost += self._count_lines(self._in_thread)
        for lane in self._lanes:
            self.lost += self._count_lines(lane.pieces)
            self._settle(lane, lane.waiting)
        if self.lost:
            log.error("sink.lost", sink=self.name, lines=self.lost)

    def leave_out_if_stuck(self) -> None:
        """Leave what is on its way out of the traffic that moves, if it does not."""
        if self.waiting and trio.current_time() - self._moved_at >= STUCK_S:
            self._leave_out(is_stuck=True)

    def reopen(self) -> None:
        """Have the target opened anew; one that failed is tried at once."""
        self._target.reopen()
        self._retry.set()

    def release(self) -> None:
        """Have one user less."""
        self.users -= 1
        self._arrival.set()

    async def run(self) -> None:
        """Write what comes, until there are no users and all is written.

        If this is cancelled, a write that hangs is left behind.
        """
        retry = _FIRST_RETRY_S
        self._traffic.sinks.add(self)
        try:
            while self.users or self._lanes.has_pieces:
                if not self._lanes.has_pieces:
                    await self._arrival.wait()
                    self._arrival = trio.Event()
                    continue
                error, has_moved = await self._write()
                if has_moved or error is None:
                    retry = _FIRST_RETRY_S
                if error is None:
                    self._note_success()
                    continue
                if error.errno in self._final:
                    self._tell_failure(_render(error))
                    self.over.set()
                elif isinstance(error, BlockingIOError) and self._target.fd is not None:
                    await self._wait_for_room(error, self._target.fd, has_moved=has_moved)
                else:
                    self._tell_failure(_render(error))
                    await self._wait_for_retry(retry)
                    retry = min(2 * retry, _LAST_RETRY_S)
        finally:
            self._traffic.sinks.remove(self)
            if not self._in_thread:
                self._target.close()

    async def _write(self) -> tuple[OSError | None, bool]:
        """Write what has gathered, put back what is not written; return why, and whether any is."""
        lane, pieces = self._lanes.take()
        if self._entry is None:
            # Put together here and not there: each thread has a heap of its own, and keeps it.
            pieces = [b"".join(pieces)]
        self._in_thread = pieces
        rest, error = await self._call_target(pieces)
        self._in_thread = []
        size = sum(map(len, pieces))
        left = sum(map(len, rest))
        if error is not None and error.errno in self._final:
            self.lost += self._count_lines(rest)
            self._settle(lane, size)
        else:
            self._lanes.put_back(lane, rest)
            self._settle(lane, size - left)
        return error, size > left

    async def _call_target(self, pieces: list[bytes]) -> tuple[list[bytes], OSError | None]:
        if not self._target.may_hang:
            await trio.lowlevel.checkpoint()
            return self._target.write(pieces)
        while True:
            try:
                rest, error = await self._traffic.places.run(self._target.write, pieces)
            except BlockingIOError:  # no thread is to be had: too many processes
                await trio.sleep(_NO_THREAD_S)
                continue
            if error is not None:
                error.__traceback__ = None  # whose frames have the pieces, and the error again
            return rest, error

    async def _wait_for_room(self, error: OSError, fd: int, *, has_moved: bool) -> None:
        """Wait for a slow reader, which is none that fails before it has read nothing for long."""
        now = trio.current_time()
        if has_moved or self._failing_since is None:
            self._failing_since = now
        elif now - self._failing_since >= _STALL_S:
            self._tell_failure(_render(error))
        with trio.move_on_after(_STALL_S):
            await trio.lowlevel.wait_writable(fd)
        if not has_moved:
            await trio.sleep(_BREATH_S)

    async def _wait_for_retry(self, seconds: float) -> None:
        """Wait until it may be worth another try."""
        await trio.sleep(_FIRST_RETRY_S)
        with trio.move_on_after(seconds):
            await self._retry.wait()
        if not self._is_last_try:
            self._retry = trio.Event()

    def _settle(self, lane: Lane, size: int) -> None:
        """Have so many bytes of a lane no longer on their way."""
        if size:
            self._leave_out(is_stuck=False)
            self._moved_at = trio.current_time()
            self.waiting -= size
            if self.waiting < _MOST_IN_TURNS <= self.waiting + size:
                self._relief.set()
                self._relief = trio.Event()
            self._count(-size)
            lane.settle(size)

    def _count(self, size: int) -> None:
        self._traffic.add(0, size) if self._is_stuck else self._traffic.add(size, 0)

    def _leave_out(self, *, is_stuck: bool) -> None:
        if is_stuck != self._is_stuck:
            self._count(-self.waiting)
            self._is_stuck = is_stuck
            self._count(self.waiting)

    def _count_lines(self, pieces: Iterable[bytes]) -> int:
        return sum(piece.count(self._entry or b"\n") for piece in pieces)

    def _tell_failure(self, reason: str) -> None:
        if self._told is None:
            self._told = trio.current_time()
            log.error("sink.failed", sink=self.name, reason=reason)
            for lane in self._lanes:
                lane.tell()  # who waits for what works need not wait any longer

    def _note_success(self) -> None:
        self._failing_since = None
        if self._told is not None:
            seconds = trio.current_time() - self._told
            self._told = None
            log.info("sink.recovered", sink=self.name, after_s=round(seconds, 3))
        error = self._find_trouble()
        trouble = "" if error is None else _render(error)
        if trouble and trouble != self._trouble:
            log.warning("sink.degraded", sink=self.name, reason=trouble)
        self._trouble = trouble


def _render(error: OSError) -> str:
    return f"it cannot be written{render_reason(error.errno or 0)}"
