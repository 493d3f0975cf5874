"""Every answer says of which version the supervisor is: a client of another one can tell it then.

It says so in its head, whatever the answer is: even a resource that is not there yet, or not any
more, is understood then.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FIELD = b"mocker-version"


class VersionField:
    """An application whose answers say so."""

    def __init__(self, app: ASGIApp, version: str) -> None:
        """Take an application.

        Args:
            app: It.
            version: What its answers say.
        """
        self._app = app
        self._field = (FIELD, version.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), self._field]}
            await send(message)

        await self._app(scope, receive, send_with_version)
