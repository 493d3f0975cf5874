"""Ask the fork server for containers from the event loop, without waiting in it.

A planner is asked for one container at a time. It looks at the host's files, and one of them may be
on a server that does not answer: then others go on. Two are there while there is enough to do, so
that one plans while the other waits for the kernel; more come if none of them answers.

Whoever asked takes its answer in any case, also if it does not want it any more.
"""

from collections.abc import Callable, Sequence

import structlog
import trio

from mocker.isolation import Container, ContainerSpec, ForkServer, ForkServerError, SetupError
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
        self._busy = 0
        self._last_answer = 0.0
        self._waiting = trio.lowlevel.ParkingLot()  # first come, first served

    async def start(
        self, spec: ContainerSpec, stdio: Sequence[int], namespaces: Sequence[int] = ()
    ) -> Container:
        """Start to make a container, see `ForkServer.request`.

        Raises:
            IsolationError: It could not be made, or the server is gone.
        """
        planner, gone = await self._take(), False
        self._busy += 1
        try:
            planner.request(spec, stdio, namespaces)
            with trio.CancelScope(shield=True):
                await trio.lowlevel.wait_readable(planner)
            return planner.receive(spec)
        except ForkServerError:
            gone = True
            raise
        finally:
            self._busy -= 1
            self._last_answer = trio.current_time()
            if not gone:
                self._idle.append(planner)
            self._waiting.unpark()

    async def _take(self) -> Planner:
        """Return a planner that nobody else asks, once there is one."""
        is_next = not self._waiting
        while not (is_next and self._idle):
            if not self._idle and (self._busy < _USUALLY or self._is_held_up()):
                try:
                    return self._open()
                except SetupError:
                    if not self._busy:
                        raise
                    # Nothing is left for one more, and an answer may set something free.
            with trio.move_on_after(_HELD_UP_S):
                await self._waiting.park()
            is_next = True
        return self._idle.pop()

    def _is_held_up(self) -> bool:
        silence = trio.current_time() - self._last_answer
        return silence >= _HELD_UP_S and self._busy < _AT_MOST

    def _open(self) -> Planner:
        if self._busy >= _USUALLY:
            self._last_answer = trio.current_time()  # one more gets its chance first
            log.warning("planner.held_up", planners=self._busy)
        planner = self.server.open_planner()
        self._watch(planner.pid)
        return planner
