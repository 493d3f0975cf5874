"""Ask the fork server for containers from the event loop, without waiting in it.

A planner is asked for one container at a time. It looks at the host's files, and one of them may be
on a server that does not answer: then others go on. Two are there while there is enough to do, so
that one plans while the other waits for the kernel; more come if none of them answers.

Whoever asked takes its answer in any case, also if it does not want it any more.
"""

from collections.abc import Callable, Sequence

import structlog
import trio

from mocker.isolation import Container, ContainerSpec, ForkServer, ForkServerError
from mocker.isolation.forkserver import Planner

log = structlog.get_logger("mocker.supervisor")

_USUALLY = 2
_AT_MOST = 64  # each takes some megabytes
_HELD_UP_S = 0.5  # without any answer; one takes a few milliseconds


class Starter:
    """The one who asks a fork server; nobody else may meanwhile.

    Attributes:
        server: The fork server.
    """

    def __init__(self, server: ForkServer, watch: Callable[[int], None]) -> None:
        """Ask a server.

        Args:
            server: The fork server.
            watch: Is called with the pid of each process that is added to it.
        """
        self.server = server
        self._watch = watch
        self._idle: list[Planner] = [server]
        self._count = 1
        self._waiting = trio.lowlevel.ParkingLot()  # first come, first served
        self._answered = 0.0  # when the last answer was taken

    async def start(
        self, spec: ContainerSpec, stdio: Sequence[int], namespaces: Sequence[int] = ()
    ) -> Container:
        """Start to make a container, see `ForkServer.request`.

        Raises:
            IsolationError: It could not be made, or the server is gone.
        """
        planner, gone = await self._take(), False
        try:
            planner.request(spec, stdio, namespaces)
            with trio.CancelScope(shield=True):
                await trio.lowlevel.wait_readable(planner)
            return planner.receive(spec)
        except ForkServerError:
            gone = True
            raise
        finally:
            self._answered = trio.current_time()
            if gone:
                self._count -= 1
            else:
                self._idle.append(planner)
            self._waiting.unpark()

    async def _take(self) -> Planner:
        """Return a planner that nobody else asks, once there is one."""
        if not self._idle or self._waiting:
            if self._count < _USUALLY:
                return self._open()
            await self._wait()
        return self._idle.pop() if self._idle else self._open()

    async def _wait(self) -> None:
        """Wait until a planner is idle, or another one is needed."""
        while True:
            with trio.move_on_after(_HELD_UP_S) as wait:
                await self._waiting.park()
            if self._idle or self._count < _USUALLY:
                return
            held_up = trio.current_time() - self._answered >= _HELD_UP_S
            if wait.cancelled_caught and held_up and self._count < _AT_MOST:
                log.warning("planner.held_up", planners=self._count)
                return

    def _open(self) -> Planner:
        planner = self.server.open_planner()
        self._watch(planner.pid)
        self._count += 1
        return planner
