import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mocker.supervisor.client.address import NoSupervisorError, choose_socket, connect, find_sockets
from tests.requirements import requires_root

GONE = "Connection refused (ECONNREFUSED); no supervisor runs there"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the directory of the sockets of a user whose XDG_RUNTIME_DIR is tmp_path."""
    path = tmp_path / "mocker"
    path.mkdir(mode=0o700)
    return path


@contextmanager
def listening(folder: Path, *names: str) -> Iterator[None]:
    """Listen as supervisors of these names do."""
    with ExitStack() as stack:
        for name in names:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(folder / f"{name}.sock"))
            listener.listen()
        yield


def choose(tmp_path: Path, wanted: str | None = None, **env: str) -> str:
    return choose_socket(wanted, {"XDG_RUNTIME_DIR": str(tmp_path), **env})


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the directories where a system puts this user's supervisors, all below tmp_path."""
    monkeypatch.setattr("mocker.supervisor.name_lock._RUN", str(tmp_path))
    monkeypatch.setattr("mocker.supervisor.name_lock._TMP", str(tmp_path))
    uid = os.geteuid()
    paths = [tmp_path / f"user/{uid}/mocker", tmp_path / f"mocker-{uid}"]
    for path in paths:
        path.mkdir(mode=0o700, parents=True)
    return paths


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("env", [{}, {"XDG_RUNTIME_DIR": "{run}/user/{uid}"}])
def test_only_supervisor_is_found_wherever_the_system_has_put_it(
    tmp_path: Path, usual: list[Path], place: int, env: dict[str, str]
) -> None:
    env = {key: value.format(run=tmp_path, uid=os.geteuid()) for key, value in env.items()}

    with listening(usual[place], "demo"):
        assert choose_socket(None, env) == f"{usual[place]}/demo.sock"
        assert choose_socket("demo", env) == f"{usual[place]}/demo.sock"


def test_who_wants_to_be_apart_finds_no_supervisor_elsewhere(
    tmp_path: Path, usual: list[Path]
) -> None:
    with listening(usual[0], "demo"), pytest.raises(NoSupervisorError):
        choose(tmp_path / "apart")


@pytest.mark.parametrize("wanted", [None, "demo"])
def test_of_two_with_one_name_the_socket_must_be_said(
    usual: list[Path], wanted: str | None
) -> None:
    with (
        listening(usual[0], "demo"),
        listening(usual[1], "demo"),
        pytest.raises(NoSupervisorError) as caught,
    ):
        choose_socket(wanted, {})

    assert str(caught.value) == (
        f"cannot choose among supervisors {usual[0]}/demo.sock, {usual[1]}/demo.sock: "
        "say which with -s SOCKET, or set MOCKER_SOCKET"
    )


def test_name_is_that_of_the_one_that_listens(usual: list[Path]) -> None:
    with listening(usual[0], "demo"):
        pass

    with listening(usual[1], "demo"):
        assert choose_socket("demo", {}) == f"{usual[1]}/demo.sock"


def test_all_places_are_told_where_none_is_found(
    tmp_path: Path, usual: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    with pytest.raises(NoSupervisorError) as caught:
        choose_socket(None, {})

    places = f"{tmp_path}/user/0/mocker or {tmp_path}/mocker or {tmp_path}/mocker-0"
    assert f"cannot find a supervisor in {places}: none of this user's" in str(caught.value)


def test_directory_that_is_not_trusted_keeps_nobody_from_another_one(usual: list[Path]) -> None:
    usual[0].chmod(0o777)

    with listening(usual[0], "bad"), listening(usual[1], "demo"):
        assert find_sockets({}) == {"demo": [f"{usual[1]}/demo.sock"]}
        assert choose_socket(None, {}) == f"{usual[1]}/demo.sock"


def test_only_supervisor_is_meant(tmp_path: Path, folder: Path) -> None:
    with listening(folder, "demo"):
        assert choose(tmp_path) == f"{folder}/demo.sock"


def test_only_one_that_listens_is_meant(tmp_path: Path, folder: Path) -> None:
    with listening(folder, "old"):
        pass

    with listening(folder, "demo"):
        assert choose(tmp_path) == f"{folder}/demo.sock"


def test_of_two_one_must_be_named(tmp_path: Path, folder: Path) -> None:
    with listening(folder, "demo", "web"):
        with pytest.raises(NoSupervisorError) as caught:
            choose(tmp_path)

        assert str(caught.value) == (
            "cannot choose among supervisors demo, web: say which with -s NAME, "
            "or set MOCKER_SOCKET"
        )
        assert choose(tmp_path, "web") == f"{folder}/web.sock"
        assert choose(tmp_path, MOCKER_SOCKET="web") == f"{folder}/web.sock"
        assert choose(tmp_path, "demo", MOCKER_SOCKET="web") == f"{folder}/demo.sock"


@pytest.mark.parametrize("path", ["/srv/x.sock", "./x.sock", "no/such/x"])
def test_path_of_a_socket_is_taken_as_it_is(tmp_path: Path, path: str) -> None:
    assert choose(tmp_path, path) == path
    assert choose(tmp_path, MOCKER_SOCKET=path) == path


@pytest.mark.parametrize("sockets", [[], ["demo"]])
def test_unknown_name_is_told_with_those_that_there_are(
    tmp_path: Path, folder: Path, sockets: list[str]
) -> None:
    with listening(folder, *sockets), pytest.raises(NoSupervisorError) as caught:
        choose(tmp_path, "web")

    known = "there are demo" if sockets else "there is none"
    assert str(caught.value) == f"cannot find supervisor 'web' in {folder}: {known}"


@pytest.mark.parametrize("empty", ["", "no"])
def test_without_a_supervisor_it_is_told_where_it_was_looked_for(
    tmp_path: Path, empty: str
) -> None:
    with pytest.raises(NoSupervisorError) as caught:
        choose(tmp_path / empty, MOCKER_SOCKET="")

    text = f"cannot find a supervisor in {tmp_path / empty}/mocker: none of this user's runs there"
    assert str(caught.value) == f"{text}; start one with 'mocker-supervise FILE', or use -s SOCKET"


def test_two_stale_sockets_are_no_supervisor(tmp_path: Path, folder: Path) -> None:
    with listening(folder, "demo", "web"):
        pass

    with pytest.raises(NoSupervisorError, match="cannot find a supervisor in"):
        choose(tmp_path)


@requires_root
def test_directory_of_somebody_else_is_not_trusted(tmp_path: Path, folder: Path) -> None:
    os.chown(folder, 12345, 12345)

    with listening(folder, "demo"), pytest.raises(NoSupervisorError) as caught:
        choose(tmp_path)

    text = f"cannot trust what is in {folder}: it is user 12345's"
    assert str(caught.value) == f"{text}; use -s SOCKET if that is meant"


def test_directory_that_others_may_write_to_is_not_trusted(tmp_path: Path, folder: Path) -> None:
    folder.chmod(0o777)

    with listening(folder, "demo"), pytest.raises(NoSupervisorError, match="others may write"):
        choose(tmp_path)


def test_link_in_place_of_the_directory_is_not_trusted(tmp_path: Path, folder: Path) -> None:
    with listening(folder, "demo"):
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to("elsewhere")

        with pytest.raises(NoSupervisorError, match="it is no directory"):
            choose(tmp_path)

    folder.unlink()
    (tmp_path / "elsewhere").rename(folder)


def test_stale_socket_is_a_sentence(folder: Path) -> None:
    with listening(folder, "demo"):
        pass

    with pytest.raises(NoSupervisorError) as caught:
        connect(f"{folder}/demo.sock")

    assert str(caught.value) == f"cannot connect to {folder}/demo.sock: {GONE}"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no/such/x.sock", "No such file or directory (ENOENT); no supervisor runs there"),
        ("x.sock", "No such file or directory (ENOENT); no supervisor runs there"),
        ("file", GONE),
        ("file/x.sock", "Not a directory (ENOTDIR)"),
    ],
)
def test_what_is_no_socket_is_a_sentence(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(NoSupervisorError) as caught:
        connect(f"{tmp_path}/{path}")

    assert str(caught.value) == f"cannot connect to {tmp_path}/{path}: {reason}"


def test_path_may_be_longer_than_that_of_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("long" * 20)
    folder.mkdir(parents=True)
    with listening(tmp_path, "demo"):
        (tmp_path / "demo.sock").rename(folder / "demo.sock")

        connect(f"{folder}/demo.sock").close()


def test_supervisor_that_lets_nobody_in_is_not_waited_for_forever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mocker.supervisor.client.address._TIMEOUT_S", 1)
    path = f"{folder}/demo.sock"
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        stack.enter_context(connect(path))

        with pytest.raises(NoSupervisorError) as caught:
            connect(path)

    assert str(caught.value) == f"cannot connect to {path}: it has let nobody in for 1 s"
