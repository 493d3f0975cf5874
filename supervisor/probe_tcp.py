"""Ask a job by a connection: whether one of its ports is open.

The socket is opened by the container's init, in the container's network, and connected here. So
nothing has to enter the container, and each of two replicas is asked at the same 127.0.0.1.
"""

import os
from collections.abc import Sequence
from errno import ECONNREFUSED

import trio
from trio.socket import AF_INET, AF_INET6, SocketType

from mocker.isolation import Container, SetupError, receive_descriptors

from .probe_url import LOOPBACK


async def ask_tcp(container: Container, port: int) -> str:
    """Return why nobody can connect to a port of this machine as the container sees it.

    Raises:
        OSError: There is no descriptor left here.
        SetupError: The container can't be asked.
    """
    try:
        stream = await connect(container, LOOPBACK, port)
    except UnreachableError as error:
        return str(error)
    stream.close()
    return ""


class UnreachableError(Exception):
    """Nobody answers at an address; the text says what the kernel says."""


async def connect(container: Container, hosts: Sequence[str], port: int) -> SocketType:
    """Connect to the first of some addresses that answers, in a container's network.

    Raises:
        UnreachableError: None does; what is said is about the first.
        OSError: There is no descriptor left here.
        SetupError: The container can't be asked.
    """
    refusals: list[str] = []
    for host in hosts:
        try:
            stream = await _open_socket(container, AF_INET6 if ":" in host else AF_INET)
        except SetupError:
            if not refusals:
                raise
            continue  # no IPv6
        try:
            await _connect(stream, host, port)
        except OSError as error:
            refusals.append(describe(error))
        else:
            return stream
    raise UnreachableError(refusals[0])


def describe(error: OSError) -> str:
    """Return what the kernel says, as part of a sentence."""
    return os.strerror(error.errno or 0).lower()


async def _open_socket(container: Container, family: int) -> SocketType:
    with container.request_socket(family) as reply:
        await trio.lowlevel.wait_readable(reply)
        (fd,) = receive_descriptors(reply)
    return trio.socket.socket(fileno=fd)


async def _connect(stream: SocketType, host: str, port: int) -> None:
    """Connect, or close the socket."""
    try:
        await stream.connect((host, port))
        _check_other_end(stream)
    except BaseException:
        stream.close()
        raise


def _check_other_end(stream: SocketType) -> None:
    """Refuse a connection to itself.

    Where nobody listens at a port that the kernel also gives out by itself, a socket can be given
    that very port, and meets itself, as in a simultaneous open: RFC 9293, 3.5.
    """
    if stream.getsockname() == stream.getpeername():
        raise OSError(ECONNREFUSED, os.strerror(ECONNREFUSED))
