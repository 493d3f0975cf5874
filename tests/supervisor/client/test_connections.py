import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.blocking_transport import BlockingTransport, run_blocking
from mocker.supervisor.client.connections import Connections
from mocker.supervisor.client.trio_transport import TrioTransport
from tests.supervisor.client.exec_listener import find_connections, listening


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "web.sock"))
        listener.listen()
        yield listener


def test_nobody_is_asked_before_a_supervisor_is_found() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        run_blocking(Connections(BlockingTransport()).open())


def test_connection_does_not_block(listener: socket.socket, tmp_path: Path) -> None:
    connections = find_connections(tmp_path)

    connection = run_blocking(connections.open())

    with pytest.raises(BlockingIOError):
        connection.recv(1)
    connections.close(connection)


def test_messages_with_descriptors_have_a_socket_beside_the_other(tmp_path: Path) -> None:
    connections = find_connections(tmp_path)
    with listening(tmp_path):
        connection = run_blocking(connections.open(socket.SOCK_SEQPACKET))

        assert connection.type == socket.SOCK_SEQPACKET
    connections.close(connection)


def test_connection_is_closed_after_its_block(listener: socket.socket, tmp_path: Path) -> None:
    connections = find_connections(tmp_path)

    async def connect() -> socket.socket:
        async with connections.connected() as connection:
            assert connection.fileno() >= 0
        return connection

    assert run_blocking(connect()).fileno() == -1


def test_none_outlives_its_client(listener: socket.socket, tmp_path: Path) -> None:
    connections = find_connections(tmp_path)
    opened = [run_blocking(connections.open()) for _ in range(2)]

    connections.close_all()

    assert [connection.fileno() for connection in opened] == [-1, -1]
    for wait in (connections.wait_readable, connections.wait_writable):
        with pytest.raises(NoSupervisorError, match="the client is closed"):
            run_blocking(wait(opened[0]))
    connections.close(opened[0])


async def test_none_is_made_after_its_client_is_closed(
    listener: socket.socket, tmp_path: Path
) -> None:
    class Slow(TrioTransport):
        async def connect(self, path: str, kind: int) -> socket.socket:
            made.append(await super().connect(path, kind))
            is_made.set()
            await closed.wait()
            return made[0]

    made, is_made, closed = list[socket.socket](), trio.Event(), trio.Event()
    connections = Connections(Slow())
    await connections.find(str(tmp_path / "web.sock"))

    async def ask() -> None:
        with pytest.raises(NoSupervisorError, match="the client is closed"):
            await connections.open()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await is_made.wait()
        connections.close_all()
        closed.set()

    assert made[0].fileno() == -1
    with pytest.raises(RuntimeError, match="async with"):
        await connections.open()


async def test_end_of_a_process_is_not_waited_for_once_its_client_is_closed() -> None:
    connections = Connections(TrioTransport())

    async def wait() -> None:
        with pytest.raises(NoSupervisorError, match="the client is closed"):
            await connections.wait_ended(pidfd)

    pidfd = os.pidfd_open(os.getpid())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        connections.close_all()
    os.close(pidfd)
