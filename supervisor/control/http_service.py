"""HTTP for each connection, by Hypercorn; loaded when somebody asks for the first time.

What Hypercorn calls a server is what it does for one connection. The accepting is not left to it,
because who is at the other end is known there alone.
"""

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from starlette.types import Receive, Scope, Send

from ..supervise import Supervisor
from .app import Resources
from .connections import Connection

_KEEP_S = 60  # that a connection may be kept without a request


class HttpService:
    """What answers requests."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._app = Resources(supervisor).make_app()
        self._config = Config()
        self._config.errorlog = None
        self._config.include_server_header = False
        self._config.keep_alive_timeout = _KEEP_S

    async def serve(self, connection: Connection) -> None:
        """Answer the requests of one connection, until it ends."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            scope["connection"] = connection
            connection.requests += 1
            try:
                await self._app(scope, receive, send)
            finally:
                connection.requests -= 1

        await TCPServer(
            ASGIWrapper(answer),  # type: ignore[arg-type]
            self._config,
            WorkerContext(None),
            {},
            connection.stream,  # type: ignore[arg-type]
        )
