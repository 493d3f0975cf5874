"""What a supervisor answers in lines: outcomes, what jobs print, changes."""

from collections.abc import Generator, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from .conversation import Conversation
from .exchange import check_line, parse_lines

Object = dict[str, object]


class AnswerLines:
    """An answer in lines, each an object, to a question that is asked once somebody wants them.

    They are taken as they come, for the length of a block, at whose end nobody listens any more:

        async with client.logs("web", follow=True) as lines:
            async for line in lines:
                print(line["line"])

    Or they are waited for, until all have come:

        outcomes = await client.stop("web", "db")

    Both raise the errors of `Client`.
    """

    __slots__ = ("_conversation", "_objects", "_opening")

    def __init__(self, opening: AbstractAsyncContextManager[Conversation]) -> None:
        """Make it.

        Args:
            opening: Asks, and gives what the lines come from.
        """
        self._opening = opening
        self._conversation: Conversation | None = None
        self._objects: Iterator[Object] = iter(())

    def __await__(self) -> Generator[object, object, list[Object]]:
        """Ask, and return all objects once they have come."""
        return self._list().__await__()

    async def __aenter__(self) -> "AnswerLines":
        """Ask, and wait until it is known that this is answered."""
        self._conversation = await self._opening.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Listen no more."""
        await self._opening.__aexit__(kind, error, traceback)

    def __aiter__(self) -> "AnswerLines":
        return self

    async def __anext__(self) -> Object:
        """Return the object of the next line."""
        while (line := next(self._objects, None)) is None:
            text = await self.receive_text()
            if not text:
                raise StopAsyncIteration
            self._objects = iter(parse_lines(text))
        check_line(line)
        return line

    async def receive_text(self) -> bytes:
        """Return what has come next as text, whole lines of JSON, many at once; b"" at the end.

        For who would spend more time on objects than on what is in them. A line that has "error"
        is the last one, and says why.
        """
        if self._conversation is None:
            raise RuntimeError("lines are received in an 'async with' block")
        return await self._conversation.receive_text()

    async def _list(self) -> list[Object]:
        async with self as lines:
            return [line async for line in lines]
