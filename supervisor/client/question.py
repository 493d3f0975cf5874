"""A question to a supervisor that is answered while other things go on, for `mocker top`."""

from collections.abc import Coroutine, Generator

from .answer_lines import Object
from .blocking_transport import BlockingTransport


class LoopTransport(BlockingTransport):
    """Waits by telling a loop what for, see `Transport`."""

    async def wait_readable(
        self,
        fd: int,
        limit_s: float | None = None,  # noqa: ARG002
        *,
        is_shown: bool = False,  # noqa: ARG002
    ) -> bool:
        """Wait until a descriptor can be read from; how long that may take is the loop's affair."""
        await _Readable(fd)
        return True


class Question:
    """One question, for a loop that waits until something can be read.

    Attributes:
        answer: What the coroutine has returned, once it is answered.
        is_answered: Whether nothing more comes.
    """

    def __init__(self, coroutine: Coroutine[int, None, list[Object]]) -> None:
        """Ask it.

        Args:
            coroutine: Which waits by nothing but a `LoopTransport`.

        Raises:
            NoSupervisorError: Nobody answers there.
        """
        self.answer: list[Object] = []
        self.is_answered = False
        self._coroutine, self._fd = coroutine, -1
        self.advance()

    def fileno(self) -> int:
        """Return the descriptor that is readable when something has come."""
        return self._fd

    def advance(self) -> None:
        """Take what has come.

        Raises:
            AnswerError: It is refused.
            NoSupervisorError: The supervisor is gone.
            ProtocolError: It is no supervisor.
        """
        try:
            self._fd = self._coroutine.send(None)
        except StopIteration as end:
            self.answer, self.is_answered = end.value, True

    def close(self) -> None:
        """Wait for nothing more."""
        self._coroutine.close()


class _Readable:
    """What is waited for, told to whoever runs the coroutine."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __await__(self) -> Generator[int, None, None]:
        yield self._fd
