"""What carries the output of runs, and what of it may outlive them.

The end of a run is told once all that it printed is handed on to its sinks, so that whoever acts on
it finds the lines there. But a job must not stand still because its sink does: where one fails and
has no room, or takes too long, what is left waits in the run's pipes for as long as the supervisor
runs, and the end is told without it. Only the job's next run waits for it, because its lines come
after those.
"""

from collections.abc import Awaitable, Callable, Sequence

import structlog
import trio

from .outlets import Outlet
from .pseudoterminal import Pseudoterminal
from .relay import Relay

log = structlog.get_logger("mocker.jobs")

_LOOK_S = 0.1  # between two looks at whether a sink fails


class RunOutput:
    """The output of one run, from its first byte until all of it is handed on."""

    def __init__(self, nursery: trio.Nursery) -> None:
        """Make one of which nothing is on its way.

        Args:
            nursery: For what carries it.
        """
        self._nursery = nursery
        self._relays: list[Relay] = []
        self._outlets: list[Outlet] = []
        self._terminal: Pseudoterminal | None = None
        self._going = 0
        self._changed = trio.Event()

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is on its way any more."""
        return not self._going

    @property
    def is_stuck(self) -> bool:
        """Whether one of its sinks has no room, and fails."""
        return any(outlet.is_stuck for outlet in self._outlets)

    def relay(self, relay: Relay, outlets: Sequence[Outlet]) -> None:
        """Carry one channel in the background, until nobody can print there any more.

        Args:
            relay: What carries it.
            outlets: Where to.
        """
        self._relays.append(relay)
        self._outlets += outlets
        self._carry(relay.run)

    def carry_terminal(self, terminal: Pseudoterminal) -> None:
        """Carry what is printed at a terminal to the pipe of its log, in the background."""
        self._terminal = terminal
        self._carry(terminal.run)

    def end_when_silent(self) -> None:
        """Take it to be at its end after a second in which nothing came."""
        for relay in self._relays:
            relay.end_when_silent()

    def leave_viewers(self) -> None:
        """Show nothing more to who is attached: they wait for the run, and not for a sink."""
        if self._terminal is not None:
            self._terminal.drop_viewers()

    async def wait_over(self) -> None:
        """Wait until nothing of it is on its way any more, however long that takes."""
        while self._going:
            await self._changed.wait()

    async def wait_handed_on(self) -> None:
        """Wait until nothing is on its way, or a sink has no room, and fails."""
        while self._going and not self.is_stuck:
            with trio.move_on_after(_LOOK_S):
                await self._changed.wait()

    def _carry(self, run: Callable[[], Awaitable[None]]) -> None:
        self._going += 1
        self._nursery.start_soon(self._be_carried, run)

    async def _be_carried(self, run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
        finally:
            self._going -= 1
            self._changed.set()
            self._changed = trio.Event()


class Outputs:
    """The outputs of the runs of all jobs.

    Attributes:
        follow: Is called when one that has outlived its run is handed on.
    """

    def __init__(self) -> None:
        self.follow: Callable[[], None] = lambda: None
        self._left: dict[str, RunOutput] = {}  # by job, none of which has two
        self._nursery: trio.Nursery | None = None
        self._ended = trio.Event()

    @property
    def is_any_left(self) -> bool:
        """Whether there is one that outlives its run."""
        return bool(self._left)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry them until `end`; what is left when this is cancelled is lost, which is told."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            self._ended.set()

    def open(self) -> RunOutput:
        """Return that of a run which is about to start."""
        if self._nursery is None:
            raise AssertionError("the outputs of runs are not carried")
        return RunOutput(self._nursery)

    def find_left(self, job: str) -> RunOutput | None:
        """Return what has outlived the last run of a job, or of a former one of that name."""
        return self._left.get(job)

    def leave(self, output: RunOutput, job: str) -> None:
        """Let what is left of one outlive its run, which was one of this job."""
        if not output.is_over and self._nursery is not None:
            if output.is_stuck:
                log.warning("job.output_delayed", job=job)
            output.leave_viewers()
            self._left[job] = output
            self._nursery.start_soon(self._follow, output, job)

    async def end(self, patience: float) -> None:
        """Carry nothing any more.

        Args:
            patience: Seconds for what is on its way.
        """
        with trio.move_on_after(patience):
            for output in tuple(self._left.values()):
                await output.wait_over()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
            await self._ended.wait()

    async def _follow(self, output: RunOutput, job: str) -> None:
        await output.wait_over()
        self._left.pop(job, None)
        self.follow()
