"""What listens as a supervisor does for who executes something in a job, or attaches to one."""

import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from mocker.supervisor.client.blocking_transport import BlockingTransport, run_blocking
from mocker.supervisor.client.connections import Connections
from mocker.supervisor.client.executed import Executed

Serve = Callable[[trio.socket.SocketType], Awaitable[None]]


@contextmanager
def listening(directory: Path) -> Iterator[socket.socket]:
    """Listen beside the socket for HTTP that the name web.sock in this directory would be."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(directory / "web.exec"))
        listener.listen()
        yield listener


def find_connections(directory: Path) -> Connections:
    """Return what connects to that, and blocks."""
    connections = Connections(BlockingTransport())
    run_blocking(connections.find(str(directory / "web.sock")))
    return connections


@contextmanager
def asked(
    directory: Path, executed: Executed, fds: Sequence[int] = (), first: Mapping[str, object] = {}
) -> Iterator[socket.socket]:
    """Ask for something; give the supervisor's end of the connection.

    Args:
        directory: See `listening`.
        executed: What to ask for; closed in the end.
        fds: Descriptors for it.
        first: What the supervisor tells before anything is asked, and goes.
    """
    with listening(directory) as listener:
        run_blocking(executed.connect())
        theirs, _ = listener.accept()
    with theirs:
        if first:
            tell(theirs, first)
            theirs.close()
        try:
            executed.ask(fds)
            yield theirs
        finally:
            executed.close()


def tell(
    theirs: socket.socket | trio.socket.SocketType,
    values: Mapping[str, object],
    fds: Sequence[int] = (),
) -> None:
    """Tell something as a supervisor does."""
    with socket.socket(fileno=os.dup(theirs.fileno())) as end:
        socket.send_fds(end, [json.dumps(values).encode()], fds)


@asynccontextmanager
async def serving(directory: Path, serve: Serve) -> AsyncIterator[None]:
    """Answer who executes something as a test wants, for the length of a block."""
    with socket.socket(socket.AF_UNIX) as http:  # which a client looks at first
        http.bind(str(directory / "web.sock"))
        http.listen()
        with listening(directory) as listener:
            listener.setblocking(False)
            accepting = trio.socket.from_stdlib_socket(listener.dup())
            with accepting:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_accept, accepting, serve, nursery)
                    yield
                    nursery.cancel_scope.cancel()


async def _accept(listener: trio.socket.SocketType, serve: Serve, nursery: trio.Nursery) -> None:
    while True:
        connected, _ = await listener.accept()
        nursery.start_soon(_attend, connected, serve)


async def _attend(connected: trio.socket.SocketType, serve: Serve) -> None:
    with connected:
        await serve(connected)
