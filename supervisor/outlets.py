"""The way from one channel of a run to its sinks, and what becomes of lines where there is no room.

A batch goes to all of its sinks at once, and then whoever carries it waits for the slowest: the job
waits on its pipe, and nobody else does. With "drop" nobody waits at all, and what is dropped is
counted and told, though not each time.
"""

from collections.abc import Sequence

import structlog
import trio

from .lines import Format, Lines
from .sinks import Sink

log = structlog.get_logger("mocker.sinks")

_TELL_S = 10.0  # between two words about what a sink drops


class Outlet:
    """From one channel of a run to one sink."""

    def __init__(self, sink: Sink, render: Format, *, job: str, drops: bool) -> None:
        """Make an outlet.

        Args:
            sink: Where to.
            render: What lines are written as.
            job: Whose they are.
            drops: Whether to drop what it has no room for.
        """
        self.sink = sink
        self._render = render
        self._job = job
        self._drops = drops
        self._dropped = 0  # lines that nobody has been told about
        self._is_counted = False  # the line that goes on: a piece of it was dropped before
        self._tell_at = 0.0

    @property
    def must_wait(self) -> bool:
        """Whether it has no room, and will have."""
        return not self._drops and self.sink.is_full(self._job)

    @property
    def must_queue(self) -> bool:
        """Whether it has none, or others wait who came before."""
        return not self._drops and self.is_full

    @property
    def is_stuck(self) -> bool:
        """Whether it has no room, and may not have any for long: its sink fails."""
        return self.must_wait and self.sink.health.is_failing

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another batch, be it to wait or to be dropped."""
        return self.sink.is_crowded(self._job)

    def put(self, lines: Lines) -> None:
        """Write lines, or drop them."""
        if self._drops and self.sink.is_full(self._job):
            self._drop(lines)
        else:
            self._is_counted = self._is_counted and not lines.ended
            self.sink.put(self._render(lines), self._job)
        self.tell_dropped()

    @property
    def has_news(self) -> bool:
        """Whether it has dropped what nobody has been told about."""
        return self._dropped > 0

    def tell_dropped(self) -> None:
        """Tell what has been dropped since the last time, if that was not just now."""
        if self._dropped and trio.current_time() >= self._tell_at:
            self._tell()

    async def wait_room(self) -> None:
        """Wait until it has room."""
        await self.sink.wait_room(self._job)

    def pass_on(self) -> None:
        """Leave the room that it has waited for to others, as there is nothing to put."""
        if not self._drops:
            self.sink.let_in()

    async def flush(self, patience: float) -> None:
        """Wait until all that was put by now is written, at most so many seconds."""
        await self.sink.flush(patience, self._job)

    def close(self) -> None:
        """Put nothing any more, and tell what has been dropped since the last time."""
        if self._dropped:
            self._tell()
        self.sink.release()

    def _drop(self, lines: Lines) -> None:
        """Count lines that are dropped: one that comes in pieces with the first of them."""
        goes_on = lines.goes_on
        self._dropped += lines.ended + goes_on - self._is_counted
        self._is_counted = goes_on

    def _tell(self) -> None:
        dropped, self._dropped = self._dropped, 0
        log.warning("sink.dropped", sink=self.sink.name, job=self._job, lines=dropped)
        self._tell_at = trio.current_time() + _TELL_S


async def wait_for_all(outlets: Sequence[Outlet]) -> None:
    """Wait until all of them have room; what follows without waiting may be put."""
    for outlet in outlets:
        if outlet.must_queue:
            await _wait_for(outlet, outlets)
    # While the later ones were waited for, the earlier ones may have filled.
    while full := next((outlet for outlet in outlets if outlet.must_wait), None):
        await _wait_for(full, outlets)


async def _wait_for(outlet: Outlet, outlets: Sequence[Outlet]) -> None:
    """Wait until one of them has room, and leave that of the others to who comes next there."""
    for other in outlets:
        if other is not outlet:
            other.pass_on()
    await outlet.wait_room()
