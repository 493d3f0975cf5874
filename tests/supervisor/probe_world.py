"""Servers for probes to ask: sockets in a container's network that a test itself serves."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from mocker.isolation import Container, ContainerSpec, receive_descriptors

SLEEP = ContainerSpec(["sleep", "1000"])
PORT = 8080

Serve = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def serving(
    container: Container, serve: Serve, host: str = "127.0.0.1", port: int = PORT
) -> AsyncIterator[None]:
    """Serve a port of a container's network for the length of a block."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with container.request_socket(family) as reply:
        await trio.lowlevel.wait_readable(reply)
        (fd,) = receive_descriptors(reply)
    listener = trio.socket.socket(fileno=fd)
    await listener.bind((host, port))
    listener.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(listener)])
        yield
        nursery.cancel_scope.cancel()


async def hang_up(stream: trio.SocketStream) -> None:
    """Close a connection."""
    await stream.aclose()


def answer_with(*parts: bytes) -> Serve:
    """Return what reads a request and sends these parts, even to nobody, and then hangs up."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await stream.receive_some()
                for part in parts:
                    await stream.send_all(part)
            except trio.BrokenResourceError:
                pass

    return serve
