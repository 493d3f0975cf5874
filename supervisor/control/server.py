"""The socket of a supervisor, its port if it has one, and who is let in.

Nothing that answers is loaded before somebody asks, nor while jobs are being started. A connection
holds one of a fixed number of places; if all are taken, the oldest that asks nothing has to go, so
that who has a question is answered however many others only connect, or follow something. Those who
may only look have places of their own, and so have those who come by TCP.
"""

import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress

import structlog
import trio

from mocker.isolation.errors import render_reason

from ..control_socket import name_socket
from ..supervise import Supervisor
from ..threads import run_in_thread
from .connections import Connection, Connections
from .first_starts import wait_started
from .guard import Guard
from .listening import admit, open_listener, open_port, render_address
from .peers import Peer, Remote, find_peer, find_remote
from .problems import RequestError

log = structlog.get_logger("mocker.control")

_MOST = 256  # connections
# Of these. Some are kept for who waits until something is done, and some for who only looks, or
# waits for nothing: so the supervisor can be told to end, whatever others wait for.
_MOST_ENDLESS, _MOST_LASTING = 240, 248
_BREATH_S = 0.1  # before the next try, where the kernel has no descriptor left

_LINGER_S = 1.0  # for the question of who is refused
_STRANGER = RequestError(
    "not-allowed",
    403,
    "this is another user's supervisor; its owner can let you look with 'read' in [control]",
)
_FULL = RequestError("busy", 503, f"cannot answer: {_MOST} others are being answered; try again")

Serve = Callable[[Connection], Awaitable[None]]
Find = Callable[[trio.socket.SocketType], Peer | Remote]


class ControlServer:
    """What listens for those who ask about a supervisor."""

    def __init__(
        self,
        directory: str,
        name: str,
        supervisor: Supervisor,
        guard: Guard,
        inherited: socket.socket | None = None,
    ) -> None:
        """Make it; nobody can connect yet.

        Args:
            directory: Where its socket is to be.
            name: Of the supervisor, who holds it.
            supervisor: Who is asked about.
            guard: Who decides about those who ask.
            inherited: A Unix socket that listens already, in place of its own; who gets to that is
                a matter of whoever made it.
        """
        self._path = os.path.join(directory, name_socket(name))
        self._supervisor = supervisor
        self._inherited = inherited
        self._control = supervisor.config.control  # whatever a reload finds in the file
        self._guard = guard
        self._owners, self._guests, self._remotes = (
            Connections(_MOST, _MOST_ENDLESS, _MOST_LASTING) for _ in range(3)
        )
        self._loading = trio.Lock()
        self._serve: Serve | None = None

    async def run(self) -> None:
        """Answer until cancelled; where it cannot listen, that is said and nobody is answered."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen_at_socket)
            if self._control.listen is not None:
                nursery.start_soon(self._listen_at_port, *self._control.listen)

    async def _listen_at_socket(self) -> None:
        if self._inherited is not None:
            with trio.socket.from_stdlib_socket(self._inherited) as listener:
                await self._accept(listener, find_peer)
            return
        try:
            listener = open_listener(self._path)
        except OSError as error:
            _tell_unavailable(self._path, error)
            return
        with closing(listener):
            try:
                if self._control.uids or self._control.gids:
                    self._admit()
                await self._accept(listener, find_peer)
            finally:
                with suppress(OSError):
                    os.unlink(self._path)

    async def _listen_at_port(self, address: str, port: int) -> None:
        where = render_address(address, port)
        try:
            listener = open_port(address, port)
        except OSError as error:
            _tell_unavailable(where, error)
            return
        with closing(listener):
            log.info("control.listening", address=where)
            await self._accept(listener, find_remote)

    def _admit(self) -> None:
        try:
            closed = admit(self._path, self._control)
        except OSError as error:
            closed = f"{self._path}{render_reason(error.errno or 0)}"
        if closed:
            reason = f"those who may look do not get through {closed}"
            log.warning("control.unreachable", reason=reason)

    async def _accept(self, listener: trio.socket.SocketType, find: Find) -> None:
        async with trio.open_nursery() as nursery:
            try:
                while True:
                    try:
                        connected, _ = await listener.accept()
                    except OSError:
                        await trio.sleep(_BREATH_S)
                        continue
                    try:
                        await self._place(connected, find, nursery)
                    except Exception:
                        # Whatever it is about this connection, it is no reason to end anything.
                        log.exception("control.failed")
                        connected.close()
            finally:
                # Before those who write are cancelled: they would wait for whoever takes nothing.
                for places in (self._owners, self._guests, self._remotes):
                    places.close()

    async def _place(
        self, connected: trio.socket.SocketType, find: Find, nursery: trio.Nursery
    ) -> None:
        """Give who has connected a place, or say that there is none."""
        try:
            peer = find(connected)
        except OSError:
            connected.close()  # nobody is there any more
            return
        connection = self._find_places(peer).add(connected, peer)
        if connection is None:
            with closing(connected), suppress(OSError):
                await connected.send(_FULL.render_answer())
        else:
            nursery.start_soon(self._attend, connection)

    def _find_places(self, peer: Peer | Remote) -> Connections:
        if isinstance(peer, Remote):
            return self._remotes
        return self._owners if peer.may_do_all else self._guests

    async def _attend(self, connection: Connection) -> None:
        peer = connection.peer
        try:
            if not self._guard.lets_in(peer):
                self._guard.tell(peer, _STRANGER)
                await connection.stream.send_all(_STRANGER.render_answer())
                with trio.move_on_after(_LINGER_S):
                    await connection.stream.receive_some()  # or some would not look at the answer
                return
            serve = await self._load()
            await serve(connection)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it is gone
        except* Exception:
            # Whatever it is about this connection, it is no reason to end anything else.
            log.exception("control.failed")
        finally:
            self._find_places(peer).remove(connection)

    async def _load(self) -> Serve:
        async with self._loading:
            if self._serve is None:
                await wait_started(self._supervisor.jobs)
                # It takes longer than a job should wait.
                self._serve = await run_in_thread(_load_service, self._supervisor, self._guard)
            return self._serve


def _load_service(supervisor: Supervisor, guard: Guard) -> Serve:
    from .http_service import HttpService

    return HttpService(supervisor, guard).serve


def _tell_unavailable(where: str, error: OSError) -> None:
    reason = f"cannot listen at {where}{render_reason(error.errno or 0)}"
    log.error("control.unavailable", reason=reason)
