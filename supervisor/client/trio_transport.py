"""Wait as programs on trio do: others go on meanwhile, and who waits can be cancelled."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

import trio

from ..threads import run_in_thread
from .address import NoSupervisorError, choose_socket, connect


class TrioTransport:
    """See `Transport`."""

    async def find(self, wanted: str | None) -> str:
        """Return the path of the socket that is meant, at which somebody answers."""
        # In threads: a connection waits for a supervisor that has many.
        path = await run_in_thread(choose_socket, wanted, dict(os.environ))
        (await run_in_thread(connect, path)).close()
        return path

    async def connect(self, path: str, kind: int) -> socket.socket:
        """Return a connection."""
        return await run_in_thread(connect, path, kind)

    async def wait_readable(
        self,
        fd: int,
        limit_s: float | None = None,
        *,
        is_shown: bool = False,  # noqa: ARG002 - a program sees for itself who is interested
    ) -> bool:
        """Wait until a descriptor can be read from; return False if it took too long."""
        with trio.move_on_after(inf if limit_s is None else limit_s), _while_open():
            await trio.lowlevel.wait_readable(fd)
            return True
        return False

    async def wait_writable(self, fd: int) -> None:
        """Wait until a descriptor can be written to."""
        with _while_open():
            await trio.lowlevel.wait_writable(fd)

    def forget(self, fd: int) -> None:
        """Tell who waits for a descriptor that it is about to be closed."""
        trio.lowlevel.notify_closing(fd)


@contextmanager
def _while_open() -> Iterator[None]:
    try:
        yield
    except trio.ClosedResourceError:
        raise NoSupervisorError("cannot ask the supervisor: the client is closed") from None
