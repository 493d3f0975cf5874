"""HTTP for each connection, by Hypercorn; loaded when somebody asks for the first time.

What Hypercorn calls a server is what it does for one connection. The accepting is not left to it,
because who is at the other end is known there alone.
"""

import sys

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from ..installed_version import find_version
from ..supervise import Supervisor
from .app import Resources
from .connections import Connection
from .intake import Intake
from .version_field import VersionField

log = structlog.get_logger("mocker.control")

_KEEP_S = 60  # that a connection may be kept without a request


class HttpService:
    """What answers requests."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._app = VersionField(Resources(supervisor).make_app(), find_version(sys.path))
        self._config = Config()
        self._config.errorlog = None
        self._config.include_server_header = False
        self._config.keep_alive_timeout = _KEEP_S

    async def serve(self, connection: Connection) -> None:
        """Answer the requests of one connection, until it ends."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            scope["connection"] = connection
            intake = Intake(receive, send)
            with connection.stream.answering():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(intake.run)
                    await self._answer(scope, intake)
                    nursery.cancel_scope.cancel()

        await TCPServer(
            ASGIWrapper(answer),  # type: ignore[arg-type]
            self._config,
            WorkerContext(None),
            {},
            connection.stream,  # type: ignore[arg-type]
        )

    async def _answer(self, scope: Scope, intake: Intake) -> None:
        try:
            await self._app(scope, intake.receive, intake.send)
        except ClientDisconnect:
            pass
        except Exception:
            # A mistake of ours; who asked is told as much, and the next one is answered.
            log.exception("control.failed", method=scope.get("method"), path=scope.get("path"))
