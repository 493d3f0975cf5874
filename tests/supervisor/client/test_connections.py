import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.blocking_transport import BlockingTransport, run_blocking
from mocker.supervisor.client.connections import Connections
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
