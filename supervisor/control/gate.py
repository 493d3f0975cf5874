"""What stands before all resources: nobody gets further than the guard lets him."""

from starlette.types import ASGIApp, Receive, Scope, Send

from .answers import Answer
from .connections import Connection
from .guard import Guard, TokenError
from .problems import RequestError


class Gate:
    """An application that answers only those who may ask it."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app, self._guard = app, guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)  # which has no other kind, and says so
            return
        connection: Connection = scope["connection"]
        try:
            self._guard.check(connection.peer, scope["method"], scope["path"], scope["headers"])
        except RequestError as error:
            self._guard.tell(connection.peer, error)
            headers = error.headers if isinstance(error, TokenError) else None
            answer = Answer(error.render(), error.status, headers)
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)
