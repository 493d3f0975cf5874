"""The sockets of a supervisor: whose they are, and what was there before."""

import os
import socket
import stat
from pathlib import Path

import pytest

from mocker.supervisor.config import ControlConfig
from mocker.supervisor.control.listening import admit, open_listener, open_port, render_address
from mocker.supervisor.control_socket import short_path
from tests.requirements import requires_root

GROUP = 4321  # that nobody is in


def try_to_connect(path: Path, kind: int) -> None:
    with socket.socket(socket.AF_UNIX, kind) as client, short_path(str(path)) as short:
        client.connect(short)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
async def test_socket_can_be_connected_to_by_its_owner(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "x.sock"
    with open_listener(str(path), kind):
        try_to_connect(path, kind)

    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_socket_is_its_owners_alone_from_its_first_moment(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[int]()
    listen = socket.socket.listen

    def look_and_listen(self: socket.socket, backlog: int) -> None:
        seen.append(stat.S_IMODE((tmp_path / "x.sock").stat().st_mode))
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", look_and_listen)
    monkeypatch.setattr(os, "chmod", None)  # nothing is mended by its path
    before = os.umask(umask)
    try:
        open_listener(str(tmp_path / "x.sock")).close()
    finally:
        os.umask(before)

    assert seen == [0o600]


async def test_nobody_is_admitted_to_what_is_no_socket(tmp_path: Path) -> None:
    directory, secret = tmp_path / "mocker", tmp_path / "secret"
    directory.mkdir(mode=0o700)
    secret.touch(mode=0o600)
    (directory / "x.sock").symlink_to(secret)

    with pytest.raises(OSError, match="non-socket"):
        admit(str(directory / "x.sock"), ControlConfig(uids=frozenset({7})))

    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


async def test_what_was_left_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    open_listener(str(path)).close()

    with open_listener(str(path)):
        try_to_connect(path, socket.SOCK_STREAM)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
async def test_who_listens_there_is_left_alone(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "x.sock"

    with open_listener(str(path), kind):
        for other in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
            with pytest.raises(OSError, match="Address already in use"):
                open_listener(str(path), other)

        try_to_connect(path, kind)


async def test_who_listens_there_is_not_disturbed_and_need_not_listen_yet(tmp_path: Path) -> None:
    path = str(tmp_path / "x.sock")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        for _ in range(2):
            with pytest.raises(OSError, match="Address already in use"):
                open_listener(path)
            listener.listen()
            listener.setblocking(False)

        with pytest.raises(BlockingIOError):
            listener.accept()


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


@requires_root
@pytest.mark.parametrize(
    ("control", "mode", "gid"),
    [
        (ControlConfig(gids=frozenset({GROUP})), 0o660, GROUP),
        (ControlConfig(gids=frozenset({GROUP, 5})), 0o666, 0),
        (ControlConfig(gids=frozenset({GROUP}), uids=frozenset({7})), 0o666, 0),
        (ControlConfig(uids=frozenset({7})), 0o666, 0),
    ],
)
async def test_others_are_admitted_to_one_socket_and_no_further(
    tmp_path: Path, control: ControlConfig, mode: int, gid: int
) -> None:
    directory = tmp_path / "mocker"
    directory.mkdir(mode=0o700)
    path, other = directory / "x.sock", directory / "x.exec"

    with open_listener(str(path)), open_listener(str(other)):
        admit(str(path), control)

    status = path.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (mode, gid)
    assert stat.S_IMODE(other.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o711


@pytest.mark.parametrize(
    ("mode", "gid", "is_closed"),
    [(0o700, GROUP, True), (0o710, GROUP, True), (0o701, GROUP, False), (0o710, None, False)],
)
async def test_directory_that_others_do_not_get_through_is_named(
    tmp_path: Path, mode: int, gid: int | None, is_closed: bool
) -> None:
    private = tmp_path / "private"
    (private / "mocker").mkdir(parents=True)
    private.chmod(mode)
    gids = {private.stat().st_gid if gid is None else gid}
    path = str(private / "mocker" / "x.sock")

    with open_listener(path):
        closed = admit(path, ControlConfig(gids=frozenset(gids), uids=frozenset({7})))

    assert (closed == str(private)) is is_closed


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_port_can_be_connected_to(address: str) -> None:
    with open_port(address, 0) as listener:
        port = listener.getsockname()[1]
        socket.create_connection((address, port)).close()
        accepted, _ = await listener.accept()

    with accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_port_in_use_cannot_be_had() -> None:
    with open_port("127.0.0.1", 0) as listener, pytest.raises(OSError, match="in use"):
        open_port("127.0.0.1", listener.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "word"), [("127.0.0.1", "127.0.0.1:9000"), ("::1", "[::1]:9000")]
)
def test_address_is_one_word(address: str, word: str) -> None:
    assert render_address(address, 9000) == word
