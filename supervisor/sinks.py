"""What is on its way to one place where lines end up, and how it gets there however slow that is.

A target is written to by worker threads, one call for all that has gathered meanwhile; one that can
never hang is written to on the spot. Nobody waits for it but those whose lines it does not take.
What it refuses is kept and tried again, more rarely each time; that it does not work is said once,
and so is that it works again.

A sink takes no more when it has its share, see `traffic`; where jobs take turns, a few that have
nothing on their way may still come.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import structlog
import trio

from .lanes import Lane, Lanes
from .sink_health import SinkHealth, render_error
from .traffic import Traffic

log = structlog.get_logger("mocker.sinks")

_PORTION = 32  # entries, one job's turn; journald spends a third of a millisecond on them
# Bytes written at a time to what does not take everything: what it leaves has to be copied.
_MOST_IF_SLOW = 2**16
_BIG = 2**14  # bytes of a piece that is not worth a copy
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
        over: Happens when the target will never take anything any more.
        health: Whether the target works.
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
        self.over = trio.Event()
        self.health = SinkHealth(name)
        self._target = target
        self._traffic = traffic
        self._final = final
        self._entry = entry
        self._find_trouble = find_trouble
        self._lanes = Lanes(None if entry is None else _PORTION)
        self._in_thread: list[bytes] = []
        self._moved_at = 0.0
        self._most: int | None = None  # bytes that are written at a time
        self._arrival = trio.Event()
        self._newcomers = deque[trio.Event]()  # of who wait, with nothing on their way
        self._retry = trio.Event()
        self._is_last_try = False
        self._lost_ends, self._is_inside_lost = 0, False  # of lines

    @property
    def lost(self) -> int:
        """Lines that will never be written; one of which the end has not come is one as well."""
        return self._lost_ends + self._is_inside_lost

    @property
    def standstill_s(self) -> float:
        """Seconds for which nothing has been written, though something is on its way."""
        return trio.current_time() - self._moved_at if self.waiting else 0.0

    def is_full(self, job: str = "") -> bool:
        """Tell whether it should be given nothing for now by a job."""
        share = self._traffic.share
        return self.waiting >= (share if self._lanes.find(job).waiting else 2 * share)

    def is_crowded(self, job: str = "") -> bool:
        """Tell whether a job should wait: it is full, or others wait who came before."""
        return self.is_full(job) or bool(self._newcomers and not self._lanes.find(job).waiting)

    async def wait_room(self, job: str = "") -> None:
        """Wait until there is room for a job; of its channels, the one that came first is first.

        What follows without waiting for anything else may be put.
        """
        lane = self._lanes.find(job)
        async with lane.turn:
            while lane.waiting and self.is_full(job):
                await self._wait_for(lane.progress)
            if self.is_crowded(job):
                await self._come_in(job)

    async def _come_in(self, job: str) -> None:
        """Wait, with nothing on its way, until those who came before are in and there is room."""
        place = trio.Event()
        self._newcomers.append(place)
        try:
            while True:
                while not place.is_set():
                    await self._wait_for(place)
                    if self._newcomers and self._newcomers[0] is place:
                        self.let_in()  # who was let in before may have come to nothing
                if not self.is_full(job):
                    return
                place = trio.Event()  # somebody who had something on its way was faster
                self._newcomers.appendleft(place)
        except trio.Cancelled:
            if place.is_set():
                self.let_in()
            else:
                self._newcomers.remove(place)
            raise

    async def _wait_for(self, event: trio.Event) -> None:
        """Wait a while; tell if the sink has stood still for long."""
        with trio.move_on_after(_STALL_S - self.standstill_s % _STALL_S) as wait:
            await event.wait()
        if wait.cancelled_caught and self.standstill_s >= _STALL_S:
            self._tell_failure(f"it has taken nothing for {_STALL_S:g} s")

    def put(self, pieces: list[bytes], job: str = "") -> None:
        """Have pieces of a job's written, each of them whole lines; never waits."""
        size = sum(map(len, pieces))
        if not self.waiting:
            self._moved_at = trio.current_time()
        self._lanes.put(self._lanes.find(job), pieces, size)
        self.waiting += size
        self._traffic.note(size)
        self._arrival.set()
        self.let_in()

    async def flush(self, patience: float, job: str = "") -> bool:
        """Wait until all that a job has put by now is written, and return whether it is.

        Args:
            patience: Seconds to wait at most, for a target that works.
            job: Its name.
        """
        lane = self._lanes.find(job)
        upto = lane.taken
        with trio.move_on_after(patience):
            while lane.gone < upto and not self.health.is_failing:
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
        self._lose(self._in_thread)
        for lane in self._lanes:
            self._lose(lane.pieces)
            self._settle(lane, lane.waiting)
        if self.lost:
            log.error("sink.lost", sink=self.name, lines=self.lost)

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
                    self.health.note_success(self._find_trouble())
                    continue
                if error.errno in self._final:
                    self._tell_failure(render_error(error))
                    self.over.set()
                elif isinstance(error, BlockingIOError) and self._target.fd is not None:
                    await self._wait_for_room(error, self._target.fd, has_moved=has_moved)
                else:
                    self._tell_failure(render_error(error))
                    await self._wait_for_retry(retry)
                    retry = min(2 * retry, _LAST_RETRY_S)
        finally:
            if not self._in_thread:
                self._target.close()

    async def _write(self) -> tuple[OSError | None, bool]:
        """Write what has gathered, put back what is not written; return why, and whether any is."""
        lane, pieces = self._lanes.take(self._most)
        if self._entry is None:
            pieces = self._gather(pieces)
        self._in_thread = pieces
        rest, error = await self._call_target(pieces)
        self._in_thread = []
        size = sum(map(len, pieces))
        left = sum(map(len, rest))
        self._most = None if error is None else _MOST_IF_SLOW
        if error is not None and error.errno in self._final:
            self._lose(rest)
            self._settle(lane, size)
        else:
            self._lanes.put_back(lane, rest if self._entry is not None else _cut(rest))
            self._settle(lane, size - left)
        return error, size > left

    def _gather(self, pieces: list[bytes]) -> list[bytes]:
        """Return the same bytes in one piece; a few big ones are left alone, for the time it takes.

        Put together here and not in the thread, they are let go before they are written. Of many
        sinks, pieces that are kept until then leave holes between what others have.
        """
        if not self._traffic.has_many and sum(map(len, pieces)) >= _BIG * len(pieces):
            return pieces
        return [b"".join(pieces)]

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
        if self.standstill_s >= _STALL_S:
            self._tell_failure(render_error(error))
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
            self._moved_at = trio.current_time()
            self.waiting -= size
            lane.settle(size)
            self.let_in()

    def let_in(self) -> None:
        """Let the first of those who wait come in, if there is room; it lets the next one.

        Of a thousand, to wake all each time costs more than to write what is theirs.
        """
        if self._newcomers and self.waiting < 2 * self._traffic.share:
            self._newcomers.popleft().set()

    def _lose(self, pieces: Iterable[bytes]) -> None:
        """Count lines that will never be written, in the order in which they would have been."""
        for piece in pieces:
            self._lost_ends += piece.count(self._entry or b"\n")
            self._is_inside_lost = self._entry is None and not piece.endswith(b"\n")

    def _tell_failure(self, reason: str) -> None:
        was_failing = self.health.is_failing
        self.health.note_failure(reason)
        if not was_failing:
            for lane in self._lanes:
                lane.tell()  # who waits for what works need not wait any longer


def _cut(pieces: Iterable[bytes]) -> list[bytes]:
    """Return the same bytes in pieces that are not big."""
    return [
        piece[start : start + _MOST_IF_SLOW]
        for piece in pieces
        for start in range(0, len(piece), _MOST_IF_SLOW)
    ]
