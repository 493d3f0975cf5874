"""An answer of lines."""

from collections.abc import Awaitable, Callable

import trio

from mocker.supervisor.control.connections import Connection, Followers, Length
from mocker.supervisor.control.line_stream import LineStream, Tell
from tests.supervisor.control.control_world import ROOT

Message = dict[str, object]


class Listener:
    """Who has asked.

    Attributes:
        messages: What came of the answer.
        leave: Is set when nobody listens any more.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.leave = trio.Event()

    async def receive(self) -> Message:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.messages.append(dict(message))

    async def hear(self, produce: Callable[[Tell], Awaitable[None]]) -> None:
        """Take the answer to its end."""
        ours, theirs = trio.socket.socketpair()
        with ours, theirs:
            scope = {"type": "http", "connection": Connection(theirs, ROOT, Followers(0, 0))}
            stream = LineStream(produce, Length.SHORT)
            await stream(scope, self.receive, self.send)  # type: ignore[arg-type]

    @property
    def body(self) -> bytes:
        parts = [message.get("body", b"") for message in self.messages]
        return b"".join(part for part in parts if isinstance(part, bytes))


async def test_each_object_is_a_line() -> None:
    async def produce(tell: Tell) -> None:
        await tell({"a": 1})
        await tell({"b": "\nö\ud800"})

    listener = Listener()

    await listener.hear(produce)

    assert listener.body == b'{"a":1}\n{"b":"\\n\\u00f6\\ud800"}\n'
    assert listener.messages[-1]["more_body"] is False


async def test_length_is_not_promised() -> None:
    async def produce(_: Tell) -> None:
        pass

    listener = Listener()

    await listener.hear(produce)

    assert listener.messages[0]["headers"] == [(b"content-type", b"application/x-ndjson")]


async def test_answer_ends_when_nobody_listens() -> None:
    listener = Listener()

    async def produce(tell: Tell) -> None:
        await tell({})
        listener.leave.set()
        await trio.sleep_forever()

    await listener.hear(produce)

    assert listener.body == b"{}\n"
