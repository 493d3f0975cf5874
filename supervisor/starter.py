"""Ask the fork server for containers from the event loop, without waiting in it.

A planner is asked for one container at a time. It looks at the host's files, and one of them may be
on a server that does not answer: then others go on. Two are there while there is enough to do, so
that one plans while the other waits for the kernel; more come if none of them answers.
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
_HELD_UP_S = 0.5  # without any answer, though somebody waits; one takes a few milliseconds
_LAST_S = 1.0  # for an answer that nobody wants any more
_OPENING = trio.CapacityLimiter(1)  # a thread that is free, whatever hangs in others


def make_late(patience: float) -> SetupError:
    """Return why there is no container after so many seconds."""
    hint = f"there was no answer for {patience:g} s, as from a disk that is away"
    return SetupError("make its container", hint=hint)


class Starter:
    """The one who asks a fork server; nobody else may meanwhile.

    Attributes:
        server: The fork server.
        given_up: The pids of planners that did not answer, and were killed.
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
        self._silent_since = 0.0
        self._opening = trio.Lock()
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
            spec: What to make, as all but the last.
            stdio: See there.
            namespaces: See there.
            cgroup: See there.
            patience: Seconds for the answer, from when it is this one's turn.

        Raises:
            IsolationError: It could not be made, there was no answer, or the server is gone.
        """
        if len(self._idle) == self._count:
            self._silent_since = trio.current_time()  # nobody has asked for anything
        planner, is_lost = await self._take(), True
        try:
            planner.request(spec, stdio, namespaces, cgroup)
            with trio.move_on_after(patience) as wait:
                await self._wait_for_answer(planner)
            if wait.cancelled_caught:
                raise make_late(patience)
            container = planner.receive(spec, cgroup)
            is_lost = False
        except ForkServerError:
            raise
        except SetupError:
            is_lost = planner.pid in self.given_up
            raise
        finally:
            self._silent_since = trio.current_time()
            if is_lost:
                self._count -= 1
            else:
                self._idle.append(planner)
            self._waiting.unpark()
        return container

    async def _wait_for_answer(self, planner: Planner) -> None:
        try:
            await trio.lowlevel.wait_readable(planner)
        except trio.Cancelled:
            deadline = trio.current_time() + _LAST_S
            with trio.CancelScope(shield=True, deadline=deadline) as last:
                await trio.lowlevel.wait_readable(planner)
            if last.cancelled_caught:
                log.warning("planner.given_up", pid=planner.pid)
                self.given_up.add(planner.pid)
                planner.give_up()
                raise

    async def _take(self) -> Planner:
        """Return a planner that nobody else asks, once there is one."""
        is_next = not self._waiting
        while not (is_next and self._idle):
            if not self._idle and (self._count < _USUALLY or self._is_held_up()):
                try:
                    return await self._open()
                except (SetupError, BlockingIOError):
                    if not self._count:
                        raise
                    # Nothing is left for one more, and an answer may set something free.
            with trio.move_on_after(_HELD_UP_S):
                await self._waiting.park()
            is_next = True
        return self._idle.pop()

    def _is_held_up(self) -> bool:
        silence = trio.current_time() - self._silent_since
        return silence >= _HELD_UP_S and self._count < _AT_MOST

    async def _open(self) -> Planner:
        if self._count >= _USUALLY:
            self._silent_since = trio.current_time()  # one more gets its chance first
            log.warning("planner.held_up", planners=self._count)
        self._count += 1
        try:
            async with self._opening:  # answers of the cloner come in the order of the requests
                # In a thread, for the cloner may have to wait for the kernel.
                planner = await run_in_thread(self.server.open_planner, limiter=_OPENING)
        except BaseException:
            self._count -= 1
            raise
        self._watch(planner.pid)
        return planner
