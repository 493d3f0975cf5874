"""An answer that goes on: one JSON object a line, until there are no more or nobody listens."""

import json
from collections.abc import Awaitable, Callable, Mapping

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Tell = Callable[[Mapping[str, object]], Awaitable[None]]


class LineStream(Response):
    """An answer of lines."""

    media_type = "application/x-ndjson"

    def __init__(self, produce: Callable[[Tell], Awaitable[None]]) -> None:
        """Make an answer.

        Args:
            produce: Calls what it is given with each object; cancelled when nobody listens.
        """
        super().__init__()
        del self.headers["content-length"]
        self._produce = produce

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""

        async def tell(values: Mapping[str, object]) -> None:
            line = json.dumps(values, separators=(",", ":")).encode() + b"\n"
            await send({"type": "http.response.body", "body": line, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_wait_gone, receive, nursery.cancel_scope)
            await self._produce(tell)
            nursery.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
