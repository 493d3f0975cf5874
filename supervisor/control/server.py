"""The socket of a supervisor, and who is let in.

Nothing that answers is loaded before somebody asks. A connection holds one of a fixed number of
places; if all are taken, the oldest that asks nothing has to go, so that who has a question is
answered however many others only connect.
"""

import json
import os
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress

import structlog
import trio

from mocker.isolation.errors import render_reason

from ..control_socket import name_socket
from ..supervise import Supervisor
from ..threads import run_in_thread
from .connections import Connection, Connections
from .listening import open_listener
from .problems import RequestError

log = structlog.get_logger("mocker.control")

_MOST = 256  # connections
_BREATH_S = 0.1  # before the next try, where the kernel has no descriptor left

_LINGER_S = 1.0  # for the question of who is refused
_STRANGER = RequestError("not-allowed", 403, "this is another user's supervisor")
_FULL = RequestError("busy", 503, f"{_MOST} others are being answered")

Serve = Callable[[Connection], Awaitable[None]]


class ControlServer:
    """What listens for those who ask about a supervisor."""

    def __init__(self, directory: str, name: str, supervisor: Supervisor) -> None:
        """Make it; nobody can connect yet.

        Args:
            directory: Where its socket is to be.
            name: Of the supervisor, who holds it: so whatever socket is there is nobody's.
            supervisor: Who is asked about.
        """
        self._path = os.path.join(directory, name_socket(name))
        self._supervisor = supervisor
        self._connections = Connections(_MOST)
        self._loading = trio.Lock()
        self._serve: Serve | None = None

    async def run(self) -> None:
        """Answer until cancelled; without a socket, that is said and nobody is answered."""
        listener = self._try_to_listen()
        if listener is None:
            return
        with closing(listener):
            try:
                async with trio.open_nursery() as nursery:
                    await self._accept(listener, nursery)
            finally:
                with suppress(OSError):
                    os.unlink(self._path)

    def _try_to_listen(self) -> trio.socket.SocketType | None:
        try:
            return open_listener(self._path)
        except OSError as error:
            reason = f"cannot listen at {self._path}{render_reason(error.errno or 0)}"
        log.error("control.unavailable", reason=reason)
        return None

    async def _accept(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        try:
            while True:
                try:
                    connected, _ = await listener.accept()
                except OSError:
                    await trio.sleep(_BREATH_S)
                    continue
                try:
                    connection = self._connections.add(connected)
                except OSError:
                    connected.close()
                    continue
                if connection is None:
                    with closing(connected), suppress(OSError):
                        await connected.send(_render(_FULL))
                else:
                    nursery.start_soon(self._attend, connection)
        finally:
            # Before those who write are cancelled: they would wait for whoever takes nothing.
            self._connections.close()

    async def _attend(self, connection: Connection) -> None:
        peer = connection.peer
        try:
            if not peer.may_do_all:
                log.warning("control.refused", uid=peer.uid, pid=peer.pid)
                await connection.stream.send_all(_render(_STRANGER))
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
            self._connections.remove(connection)

    async def _load(self) -> Serve:
        async with self._loading:
            if self._serve is None:
                # It takes longer than a job should wait.
                self._serve = await run_in_thread(_load_service, self._supervisor)
            return self._serve


def _load_service(supervisor: Supervisor) -> Serve:
    from .http_service import HttpService

    return HttpService(supervisor).serve


def _render(error: RequestError) -> bytes:
    """Return the answer to whoever is not even asked what he wants."""
    body = json.dumps(error.render()).encode()
    head = [
        f"HTTP/1.1 {error.status} {error.code}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body
