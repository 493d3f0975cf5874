"""The sockets of a supervisor: whose they are, and what was there before."""

import os
import socket
from pathlib import Path

import pytest

from mocker.supervisor.control.listening import open_listener
from mocker.supervisor.control_socket import short_path


def try_to_connect(path: Path, kind: int) -> None:
    with socket.socket(socket.AF_UNIX, kind) as client, short_path(str(path)) as short:
        client.connect(short)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
async def test_socket_can_be_connected_to_by_its_owner(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "x.sock"
    with open_listener(str(path), kind):
        try_to_connect(path, kind)

    assert path.stat().st_mode & 0o777 == 0o600


async def test_what_was_left_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    open_listener(str(path)).close()

    with open_listener(str(path)):
        try_to_connect(path, socket.SOCK_STREAM)


async def test_path_may_be_longer_than_a_socket_can_have(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    directory.mkdir()

    with open_listener(str(directory / "x.sock")):
        try_to_connect(directory / "x.sock", socket.SOCK_STREAM)


async def test_no_descriptor_is_left_where_there_can_be_none(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208

    with pytest.raises(FileNotFoundError):
        open_listener(str(tmp_path / "nowhere" / "x.sock"))

    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
