"""The socket, and who is let in."""

import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.control import server
from mocker.supervisor.control.peers import Peer
from mocker.supervisor.control.server import ControlServer
from mocker.supervisor.supervise import Supervisor
from tests.supervisor.control.control_world import make_supervisor, read_all

GET = b"GET /v1/supervisor HTTP/1.0\r\n\r\n"


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with make_supervisor() as supervisor:
        yield supervisor


@asynccontextmanager
async def listening(directory: Path, supervisor: Supervisor) -> AsyncIterator[str]:
    """Let a supervisor listen for the length of a block, and give the path of its socket."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ControlServer(str(directory), "jobs", supervisor).run)
        await wait_all_tasks_blocked()
        yield str(directory / "jobs.sock")
        nursery.cancel_scope.cancel()


async def ask(path: str) -> bytes:
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(GET)
        return await read_all(stream)


async def test_who_asks_is_answered(tmp_path: Path, supervisor: Supervisor) -> None:
    async with listening(tmp_path, supervisor) as path:
        answer = await ask(path)

    assert answer.startswith(b"HTTP/1.1 200")


async def test_socket_is_there_as_long_as_somebody_listens(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    async with listening(tmp_path, supervisor) as path:
        mode = os.stat(path).st_mode  # noqa: PTH116

    assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_whatever_lies_in_its_place_is_replaced(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    (tmp_path / "jobs.sock").write_text("stale")

    async with listening(tmp_path, supervisor) as path:
        answer = await ask(path)

    assert answer.startswith(b"HTTP/1.1 200")


async def test_place_that_cannot_be_had_is_said(tmp_path: Path, supervisor: Supervisor) -> None:
    with capture_logs() as events:
        await ControlServer(str(tmp_path / "missing"), "jobs", supervisor).run()

    assert [(event["event"], event["log_level"]) for event in events] == [
        ("control.unavailable", "error")
    ]
    assert "No such file or directory" in events[0]["reason"]


async def test_another_users_process_is_refused(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = property(lambda _: False)
    monkeypatch.setattr(Peer, "may_do_all", stranger)

    with capture_logs() as events:
        async with listening(tmp_path, supervisor) as path:
            answer = await ask(path)

    assert answer.startswith(b"HTTP/1.1 403")
    assert b'"code": "not-allowed"' in answer
    assert [(e["event"], e["uid"]) for e in events] == [("control.refused", os.geteuid())]


async def test_who_finds_all_places_taken_is_told(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST", 0)
    control = ControlServer(str(tmp_path), "jobs", supervisor)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(control.run)
        await wait_all_tasks_blocked()
        answer = await ask(str(tmp_path / "jobs.sock"))
        nursery.cancel_scope.cancel()

    assert answer.startswith(b"HTTP/1.1 503")


async def test_answers_that_cannot_be_loaded_are_no_end(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Supervisor) -> None:
        raise ImportError("there is no such module")

    with monkeypatch.context() as patch, capture_logs() as events:
        patch.setattr(server, "_load_service", fail)
        async with listening(tmp_path, supervisor) as path:
            first = await ask(path)
            patch.undo()
            second = await ask(path)

    assert (first, second[:12]) == (b"", b"HTTP/1.1 200")
    assert [event["event"] for event in events] == ["control.failed"]


async def test_end_does_not_wait_for_who_is_connected(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    async with listening(tmp_path, supervisor) as path:
        stream = await trio.open_unix_socket(path)
        await stream.send_all(GET[:5])

    async with stream:
        assert await read_all(stream) == b""
