"""Ask the fork server for containers from the event loop, without waiting in it.

A planner is asked for one container at a time. It looks at the host's files, and one of them may be
on a server that does not answer: then others go on. Two are there while there is enough to do, so
that one plans while the other waits for the kernel; more come for those that do not answer.
"""

from collections.abc import Callable, Sequence
from math import inf

import structlog
import trio

from mocker.isolation import Container, ContainerSpec, ForkServer, ForkServerError, SetupError
from mocker.isolation.cgroups import Cgroup
from mocker.isolation.forkserver import Planner

from .threads import run_in_thread

log = structlog.get_logger("mocker.supervisor")

_USUALLY = 2
_AT_MOST = 64  # each takes some megabytes
_HELD_UP_S = 0.5  # without an answer; one takes a few milliseconds
_LAST_S = 1.0  # for an answer that nobody wants any more


def make_late(patience: float) -> SetupError:
    """Return why there is no container after so many seconds."""
    hint = f"there was no answer for {patience:g} s, as from a disk that is away"
    return SetupError("make its container", hint=hint)


def make_unwanted() -> SetupError:
    """Return why there is no container for who did not want one any more."""
    return SetupError("make its container", hint="it was to stop, and there was no answer yet")


class Starter:
    """The one who asks a fork server; nobody else may meanwhile.

    Attributes:
        server: The fork server.
        given_up: The pids of planners that did not answer, and were killed; until they are reaped.
    """

    def __init__(self, server: ForkServer, watch: Callable[[int], None]) -> None:
        """Ask a server.

        Args:
            server: The fork server.
            watch: Is called with the pid of each process that is added to it.
        """
        self.server = server
        self.given_up = set[int]()
        self._watch = watch
        self._idle: list[Planner] = [server]
        self._count = 1  # of planners, those that are being opened included
        self._asked: dict[Planner, float] = {}  # those that have not answered yet, and since when
        self._silent_since = 0.0
        self._overtaken = 0.0  # what was asked before that should have been answered as well
        self._opening = trio.Lock()
        self._thread = trio.CapacityLimiter(1)  # is free, whatever hangs in others
        self._waiting = trio.lowlevel.ParkingLot()  # first come, first served

    async def start(
        self,
        spec: ContainerSpec,
        stdio: Sequence[int],
        namespaces: Sequence[int] = (),
        cgroup: Cgroup | None = None,
        *,
        patience: float = inf,
    ) -> Container:
        """Start to make a container, see `ForkServer.request`.

        Who is cancelled meanwhile gets its container all the same, or gives the planner up that
        does not answer.

        Args:
            spec: What to make.
            stdio: As in `ForkServer.request`.
            namespaces: As there.
            cgroup: As there.
            patience: Seconds for the answer, from when it is this one's turn.

        Raises:
            IsolationError: It could not be made, there was no answer, or the server is gone.
        """
        if len(self._idle) == self._count:
            self._silent_since = trio.current_time()  # nobody has asked for anything
        planner, is_lost = await self._take(), False
        try:
            planner.request(spec, stdio, namespaces, cgroup)
            is_lost, asked = True, trio.current_time()
            self._asked[planner] = asked
            if not await self._wait_for_answer(planner, patience):
                raise make_late(patience)
            is_lost = False
            self._silent_since = trio.current_time()
            self._overtaken = max(self._overtaken, asked)
            container = planner.receive(spec, cgroup)
        except ForkServerError:
            is_lost = True
            raise
        finally:
            self._asked.pop(planner, None)
            if is_lost:
                self._count -= 1
            else:
                self._idle.append(planner)
            self._waiting.unpark()
        return container

    async def _wait_for_answer(self, planner: Planner, patience: float) -> bool:
        """Return whether there is one; if not, the planner is given up."""
        try:
            with trio.move_on_after(patience) as wait:
                await trio.lowlevel.wait_readable(planner)
        except trio.Cancelled:
            deadline = trio.current_time() + _LAST_S
            with trio.CancelScope(shield=True, deadline=deadline) as last:
                await trio.lowlevel.wait_readable(planner)
            if last.cancelled_caught:
                self._give_up(planner)
                raise
        else:
            if wait.cancelled_caught:
                self._give_up(planner)
                return False
        return True

    def _give_up(self, planner: Planner) -> None:
        log.warning("planner.given_up", pid=planner.pid)
        self.given_up.add(planner.pid)
        self.server.drop(planner)

    async def _take(self) -> Planner:
        """Return a planner that nobody else asks, once there is one."""
        is_next = not self._waiting
        while not (is_next and self._idle):
            if not self._idle and self._count < self._find_most():
                try:
                    return await self._open()
                except SetupError:
                    if not self._count:
                        raise
                    # Nothing is left for one more, and an answer may set something free.
            with trio.move_on_after(_HELD_UP_S):
                await self._waiting.park()
            is_next = True
        return self._idle.pop()

    def _find_most(self) -> int:
        """Return how many planners there may be: those that are held up do not count.

        Where many are, there are soon more of them than of the others; so twice as many may be.
        """
        long_ago = trio.current_time() - _HELD_UP_S
        before = inf if self._silent_since <= long_ago else self._overtaken
        late = sum(asked <= long_ago and asked < before for asked in self._asked.values())
        return min(_AT_MOST, max(_USUALLY + late, 2 * late))

    async def _open(self) -> Planner:
        if self._count >= _USUALLY:
            log.warning("planner.held_up", planners=self._count)
        self._count += 1
        try:
            async with self._opening:  # answers of the cloner come in the order of the requests
                # In a thread, for the cloner may have to wait for the kernel.
                planner = await run_in_thread(
                    self.server.open_planner, limiter=self._thread, discard=self.server.drop
                )
        except BaseException as error:
            self._count -= 1
            if isinstance(error, BlockingIOError):
                raise SetupError("start a thread", error.errno or 0) from error
            raise
        self._watch(planner.pid)
        return planner
