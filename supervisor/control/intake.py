"""What comes of a request while it is answered: for the answer as long as that wants it, then off.

Hypercorn keeps a few messages for whoever answers, and reads no more of the connection until they
are taken. Who answers before the request is at its end, such as to say that it is too big, takes no
more of them; and then nobody would notice that the other end is gone, and the last word of the
answer would wait for room that nobody makes.
"""

from collections.abc import MutableMapping
from typing import Any

import trio
from starlette.types import Receive, Send

_BODY, _START = "http.request", "http.response.start"

Message = MutableMapping[str, Any]


class Intake:
    """What stands between the messages of a request and who answers it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        """Stand there.

        Args:
            receive: Gives the next message, as ASGI has it.
            send: Takes a part of the answer, as ASGI has it.
        """
        self._receive, self._send = receive, send
        self._give, self._take = trio.open_memory_channel[Message](0)
        self._handing_over = trio.CancelScope()
        self._is_answered = False

    async def run(self) -> None:
        """Take what comes, until cancelled."""
        while True:
            message = await self._receive()
            if message["type"] != _BODY:
                await self._give.send(message)  # the last one: nobody is there any more
            elif not self._is_answered:
                with trio.CancelScope() as self._handing_over:
                    await self._give.send(message)

    async def receive(self) -> Message:
        """Return the next message; a part of the request only until an answer begins."""
        return await self._take.receive()

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == _START:
            self._is_answered = True
            self._handing_over.cancel()
        await self._send(message)
