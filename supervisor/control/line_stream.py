"""An answer that goes on: one JSON object a line, until there are no more or nobody listens."""

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import attrs
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..racing import until
from .actions import Follow, Outcome
from .connections import Length

Put = Callable[[bytes], Awaitable[None]]
Tell = Callable[[Mapping[str, object]], Awaitable[None]]
Begin = Callable[[], Awaitable[Follow]]


class TextStream(Response):
    """An answer of lines that somebody else makes."""

    media_type = "application/x-ndjson"

    def __init__(self, produce: Callable[[Put], Awaitable[None]], length: Length) -> None:
        """Make an answer.

        Args:
            produce: Calls what it is given with the next part; cancelled when nobody listens.
            length: How long it may take.
        """
        super().__init__()
        del self.headers["content-length"]
        self._produce, self._length = produce, length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it.

        Raises:
            RequestError: Too many follow or wait for something already.
        """
        with scope["connection"].lasting(self._length):
            await self._answer(receive, send)

    async def _answer(self, receive: Receive, send: Send) -> None:
        async def put(text: bytes) -> None:
            await send({"type": "http.response.body", "body": text, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with until(partial(_wait_gone, receive)):
            await self._produce(put)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class LineStream(TextStream):
    """An answer of lines."""

    def __init__(self, produce: Callable[[Tell], Awaitable[None]], length: Length) -> None:
        """Make an answer.

        Args:
            produce: Calls what it is given with each object; cancelled when nobody listens.
            length: How long it may take.
        """

        async def produce_text(put: Put) -> None:
            async def tell(values: Mapping[str, object]) -> None:
                await put(json.dumps(values, separators=(",", ":")).encode() + b"\n")

            await produce(tell)

        super().__init__(produce_text, length)


class OutcomeStream(LineStream):
    """An answer of what came of each job, as soon as it is known."""

    def __init__(self, begin: Begin, length: Length) -> None:
        """Make an answer.

        Args:
            begin: Does it, once it is sure that somebody is told of it; returns what calls what it
                is given with each outcome, which is cancelled when nobody listens.
            length: How long it may take.
        """
        self._begin = begin
        self._follow: Follow  # once it has begun
        super().__init__(self._tell, length)

    async def _answer(self, receive: Receive, send: Send) -> None:
        self._follow = await self._begin()
        await super()._answer(receive, send)

    async def _tell(self, tell: Tell) -> None:
        async def tell_one(outcome: Outcome) -> None:
            await tell(attrs.asdict(outcome))

        await self._follow(tell_one)


async def _wait_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
