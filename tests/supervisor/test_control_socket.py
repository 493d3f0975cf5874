"""Where the socket of a supervisor is."""

import socket
from pathlib import Path

import pytest

from mocker.supervisor.control_socket import list_sockets, name_socket, short_path


def test_sockets_are_listed_by_the_names_of_their_supervisors(tmp_path: Path) -> None:
    for name in (name_socket("web"), name_socket("a.b"), "web.lock", "sock"):
        (tmp_path / name).touch()

    assert list_sockets(str(tmp_path)) == {
        "a.b": f"{tmp_path}/a.b.sock",
        "web": f"{tmp_path}/web.sock",
    }


def test_directory_that_is_missing_has_no_sockets(tmp_path: Path) -> None:
    assert list_sockets(str(tmp_path / "missing")) == {}


def test_socket_in_a_deep_directory_can_be_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    path = str(deep / "web.sock")

    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        with short_path(path) as short:
            listener.bind(short)
        listener.listen()
        with short_path(path) as short:
            client.connect(short)

    assert Path(path).is_socket()


def test_socket_beside_who_asks_can_be_named_without_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "web.sock").write_text("here")
    monkeypatch.chdir(tmp_path)

    with short_path("web.sock") as short:
        assert Path(short).read_text() == "here"


def test_directory_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), short_path(str(tmp_path / "missing/web.sock")):
        pass
