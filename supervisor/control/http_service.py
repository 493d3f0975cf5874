"""HTTP for each connection, by Hypercorn; loaded when somebody asks for the first time.

What Hypercorn calls a server is what it does for one connection. The accepting is not left to it,
because who is at the other end is known there alone.
"""

from functools import partial

import h11
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import H11SendableEvent
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from ..installed_version import VERSION
from ..racing import until
from ..supervise import Supervisor
from .answers import Answer
from .app import Resources
from .connections import Connection
from .gate import Gate
from .guard import Guard
from .intake import Intake
from .problems import RequestError, make_too_slow
from .streams import SILENCE_S, PatientStream
from .version_field import VersionField

log = structlog.get_logger("mocker.control")

_TOO_SLOW = 408  # of HTTP
_LOOK_S = 2.0  # between two looks at whether a client is still there


class _Http1(H11Protocol):
    """HTTP/1.1 as Hypercorn has it, and nothing else.

    What is sent is sent in one piece where it can be, which is one message to the kernel and one
    wake-up of the client instead of three.

    Attributes:
        connected: What the requests come by.
    """

    connected: PatientStream
    _head = b""  # of an answer whose body is about to come

    async def handle(self, event: Event) -> None:
        """Take what came; who takes too long to ask is told so, unless he has been answered."""
        connected = self.connected
        if isinstance(event, RawData):
            connected.has_said |= bool(event.data)  # on its way here, an answer may have ended
            if connected.is_late and not connected.is_silent:
                await self._send_error_response(_TOO_SLOW)
        await super().handle(event)

    async def _maybe_recycle(self) -> None:
        """Be ready for the next request, of which something may be there already."""
        self.connected.has_said = bool(self.connection.trailing_data[0])
        await super()._maybe_recycle()

    async def _check_protocol(self, event: h11.Request) -> None:
        """Go on, though the request would like to go on in HTTP/2."""

    async def _create_stream(self, request: h11.Request) -> None:
        """Answer in HTTP/1.1, though the request would like to go on as a websocket."""
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        if len(headers) < len(request.headers):
            request = h11.Request(
                method=request.method,
                headers=headers,
                target=request.target,
                http_version=request.http_version,
            )
        await super()._create_stream(request)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        """Send a part of an answer, or keep its head until the body follows."""
        try:
            data = self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        data, self._head = self._head + data, b""
        if isinstance(event, h11.Response) and dict(event.headers).get(b"content-length"):
            self._head = data
        elif data:
            await self.send(RawData(data=data))

    async def _send_error_response(self, status_code: int) -> None:
        """Answer what cannot be understood, or is not whole, in the format of all errors."""
        if status_code == _TOO_SLOW:
            error = make_too_slow("a request", SILENCE_S)
        else:
            error = RequestError("bad-request", status_code, "the request is no HTTP/1.1")
        answer = Answer(error.render(), status_code, {"Connection": "close"})
        await self._send_h11_event(
            h11.Response(status_code=status_code, headers=answer.raw_headers)
        )
        await self._send_h11_event(h11.Data(data=bytes(answer.body)))
        await self._send_h11_event(h11.EndOfMessage())


class _Server(TCPServer):
    """What Hypercorn does for one connection, without a wait for who has left."""

    async def protocol_send(self, event: Event) -> None:
        """Do what is asked of a connection; that it ends when it is idle, its stream sees to."""
        if not isinstance(event, Updated):
            await super().protocol_send(event)

    async def _read_data(self) -> None:
        await self.idle_task.stop()
        old = self.protocol.protocol
        self.protocol.protocol = http = _Http1(
            old.app,
            old.config,
            old.context,
            old.task_group,
            old.connection_state,
            old.ssl,
            old.client,
            old.server,
            old.send,
        )
        http.connected = self.stream  # type: ignore[assignment]
        await super()._read_data()
        # Or the connection would be kept for a next request, which cannot come any more.
        await self.context.terminated.set()


class HttpService:
    """What answers requests."""

    def __init__(self, supervisor: Supervisor, guard: Guard) -> None:
        app = Gate(Resources(supervisor).make_app(), guard)
        self._app = VersionField(app, VERSION)
        self._config = Config()
        self._config.errorlog = None
        self._config.include_server_header = False

    async def serve(self, connection: Connection) -> None:
        """Answer the requests of one connection, until it ends."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            scope["connection"] = connection
            intake = Intake(receive, send)
            with connection.stream.answering():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(intake.run)
                    await self._answer(scope, intake, connection)
                    nursery.cancel_scope.cancel()

        server = _Server(
            ASGIWrapper(answer),  # type: ignore[arg-type]
            self._config,
            WorkerContext(None),
            {},
            connection.stream,  # type: ignore[arg-type]
        )
        async with until(partial(_wait_left, connection)):
            await server

    async def _answer(self, scope: Scope, intake: Intake, connection: Connection) -> None:
        try:
            await self._app(scope, intake.receive, intake.send)
        except ClientDisconnect:
            pass
        except Exception:
            if connection.has_left:
                return  # in the middle of the answer
            # A mistake of ours; who asked is told as much, and the next one is answered.
            log.exception("control.failed", method=scope.get("method"), path=scope.get("path"))


async def _wait_left(connection: Connection) -> None:
    """Wait until who asked has left, which shows where nothing is read: behind an answer."""
    while True:
        await trio.sleep(_LOOK_S)
        if connection.has_left:
            return
