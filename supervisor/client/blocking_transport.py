"""Wait as commands do, which have nothing else to do: nobody lets anybody else go on.

So a coroutine that asks by this runs from its beginning to its end without a loop around it.
"""

import os
import select
import socket
from collections.abc import Coroutine, Mapping

from .address import choose_socket, connect

TYPE_CHECKING = False  # `typing` takes as long to load as all that is asked
if TYPE_CHECKING:
    from typing import TypeVar

    Result = TypeVar("Result")


class ReaderGoneError(Exception):
    """Nobody is left to read what is made of the answer."""


class BlockingTransport:
    """See `Transport`."""

    def __init__(self, env: Mapping[str, str] = os.environ, reader_fd: int = -1) -> None:
        """Make it.

        Args:
            env: The caller's.
            reader_fd: Where lines are shown, which are of no use once nobody reads there; -1 if
                that makes no difference.
        """
        self._env, self._reader_fd = env, reader_fd

    async def find(self, wanted: str | None) -> str:
        """Return the path of the socket that is meant; whether somebody answers is seen later."""
        return choose_socket(wanted, self._env)

    async def connect(self, path: str, kind: int) -> socket.socket:
        """Return a connection."""
        return connect(path, kind)

    async def wait_readable(
        self, fd: int, limit_s: float | None = None, *, is_shown: bool = False
    ) -> bool:
        """Wait until a descriptor can be read from; return False if it took too long.

        Raises:
            ReaderGoneError: Nobody reads what is shown.
        """
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if is_shown and self._reader_fd >= 0:
            poll.register(self._reader_fd, 0)  # only for POLLERR: a pipe that nobody reads any more
        ready = poll.poll(None if limit_s is None else limit_s * 1000)
        if any(other != fd and event for other, event in ready):
            raise ReaderGoneError
        return bool(ready)

    async def wait_writable(self, fd: int) -> None:
        """Wait until a descriptor can be written to."""
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        poll.poll()

    def forget(self, fd: int) -> None:
        """Do nothing: nobody else waits."""


def run_blocking(coroutine: "Coroutine[object, None, Result]") -> "Result":
    """Run a coroutine to its end and return its result.

    Args:
        coroutine: Which waits by nothing but a `BlockingTransport`.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    raise RuntimeError("it waits for something that is not blocking")
