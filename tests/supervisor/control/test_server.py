"""The socket, and who is let in."""

import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.config import ControlConfig
from mocker.supervisor.control import server
from mocker.supervisor.control.guard import Guard
from mocker.supervisor.control.peers import Peer
from mocker.supervisor.control.server import ControlServer
from mocker.supervisor.lifecycle import State
from mocker.supervisor.lines import Lines, Source
from mocker.supervisor.supervise import Supervisor
from tests.supervisor.control.control_world import Puppet, make_supervisor, read_all

GET = b"GET /v1/supervisor HTTP/1.0\r\n\r\n"
SHUTDOWN = b"POST /v1/shutdown HTTP/1.0\r\n\r\n"
EVENTS = b"GET /v1/events HTTP/1.0\r\n\r\n"
FOLLOW_LOGS = b"GET /v1/logs?follow=1 HTTP/1.0\r\n\r\n"
LOGS = b"GET /v1/logs HTTP/1.0\r\n\r\n"
TOKEN = "let-me-in"  # noqa: S105 - it opens nothing


def post(path: str, **body: object) -> bytes:
    content = json.dumps(body)
    return f"POST {path} HTTP/1.0\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode()


WAIT = post("/v1/wait", jobs=["web"], **{"for": "stopped"})
START = post("/v1/actions", action="start", jobs=["web"])
REPLACE = post("/v1/actions", action="restart", jobs=["web"], rolling=True)
SCALE = post("/v1/scale", jobs={"web": 2})
RELOAD = post("/v1/reload")
STOP = post("/v1/actions", action="stop", jobs=["web"])
STOP_UNSEEN = post("/v1/actions", action="stop", jobs=["web"], wait=False)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with make_supervisor("web") as supervisor:
        yield supervisor


@asynccontextmanager
async def listening(directory: Path, supervisor: Supervisor) -> AsyncIterator[str]:
    """Let a supervisor listen for the length of a block, and give the path of its socket."""
    async with trio.open_nursery() as nursery:
        guard = Guard(supervisor.config.control)
        nursery.start_soon(ControlServer(str(directory), "jobs", supervisor, guard).run)
        await wait_all_tasks_blocked()
        yield str(directory / "jobs.sock")
        nursery.cancel_scope.cancel()


async def ask(path: str, request: bytes = GET) -> bytes:
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(request)
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


async def test_socket_that_listens_already_is_taken_and_left_where_it_is(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    path = tmp_path / "jobs.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    before = path.stat().st_ino

    async with trio.open_nursery() as nursery:
        guard = Guard(ControlConfig())
        control = ControlServer(str(tmp_path), "jobs", supervisor, guard, listener)
        nursery.start_soon(control.run)
        answer = await ask(str(path))
        nursery.cancel_scope.cancel()

    assert answer.startswith(b"HTTP/1.1 200")
    assert path.stat().st_ino == before


async def test_whatever_lies_in_its_place_is_replaced(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    (tmp_path / "jobs.sock").write_text("stale")

    async with listening(tmp_path, supervisor) as path:
        answer = await ask(path)

    assert answer.startswith(b"HTTP/1.1 200")


async def test_place_that_cannot_be_had_is_said(tmp_path: Path, supervisor: Supervisor) -> None:
    with capture_logs() as events:
        missing = str(tmp_path / "missing")
        await ControlServer(missing, "jobs", supervisor, Guard(ControlConfig())).run()

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
    control = ControlServer(str(tmp_path), "jobs", supervisor, Guard(ControlConfig()))

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


async def test_nothing_that_answers_is_loaded_while_a_job_is_about_to_be_started(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = supervisor.jobs["web"]
    assert isinstance(web, Puppet)
    states = list[State]()

    def load(supervisor: Supervisor, guard: Guard) -> server.Serve:
        states.append(web.life.state)
        return load_service(supervisor, guard)

    load_service = server._load_service
    monkeypatch.setattr(server, "_load_service", load)
    web.start()

    async with listening(tmp_path, supervisor) as path, trio.open_nursery() as nursery:
        nursery.start_soon(ask, path)
        with trio.fail_after(10):
            while not (states or web._changed.statistics().tasks_waiting):
                await trio.lowlevel.checkpoint()
        web.become_ready()

    assert states == [State.RUNNING]


@pytest.mark.parametrize(
    "follow",
    [EVENTS, FOLLOW_LOGS, WAIT, START, REPLACE],
    ids=["events", "logs", "wait", "start", "rolling"],
)
async def test_those_who_follow_leave_places_for_others(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, follow: bytes
) -> None:
    monkeypatch.setattr(server, "_MOST", 2)
    monkeypatch.setattr(server, "_MOST_ENDLESS", 1)
    monkeypatch.setattr(server, "_MOST_LASTING", 1)
    supervisor.jobs["web"].start()

    async with (
        listening(tmp_path, supervisor) as path,
        await trio.open_unix_socket(path) as follower,
    ):
        await follower.send_all(follow)
        begun = await follower.receive_some()
        with trio.fail_after(5):
            another = await ask(path, follow)
            answer = await ask(path)

    assert [text[:12] for text in (begun, another, answer)] == [
        b"HTTP/1.1 200",
        b"HTTP/1.1 503",
        b"HTTP/1.1 200",
    ]
    assert b'"code":"busy"' in another


async def test_those_who_do_not_take_last_lines_leave_places_for_others(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST", 2)
    monkeypatch.setattr(server, "_MOST_LASTING", 1)
    lines = Lines(Source("web", "stdout", 1, 1), b"x" * 999 + b"\n", (), 0)
    for _ in range(1000):  # far more than a socket has room for
        supervisor.jobs["web"].ring.add(lines)

    async with listening(tmp_path, supervisor) as path, await trio.open_unix_socket(path) as reader:
        await reader.send_all(LOGS)
        begun = await reader.receive_some(12)
        with trio.fail_after(5):
            another = await ask(path, LOGS)
            answer = await ask(path)

    assert [text[:12] for text in (begun, another, answer)] == [
        b"HTTP/1.1 200",
        b"HTTP/1.1 503",
        b"HTTP/1.1 200",
    ]


@pytest.mark.parametrize("wait", [START, SCALE, RELOAD], ids=["start", "scale", "reload"])
async def test_action_that_cannot_be_waited_for_is_not_begun_and_others_are(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, wait: bytes
) -> None:
    monkeypatch.setattr(server, "_MOST_LASTING", 1)
    web = supervisor.jobs["web"]
    web.start()

    async with listening(tmp_path, supervisor) as path, await trio.open_unix_socket(path) as waiter:
        await ask(path)  # which loads all that answers
        await waiter.send_all(wait)
        await wait_all_tasks_blocked()
        with trio.fail_after(5):
            refusal, state = await ask(path, STOP), web.life.state
            stop, shutdown = await ask(path, STOP_UNSEEN), await ask(path, SHUTDOWN)

    assert (refusal[:12], state) == (b"HTTP/1.1 503", State.STARTING)
    assert (stop[:12], shutdown[:12]) == (b"HTTP/1.1 200", b"HTTP/1.1 202")
    assert web.life.state is State.STOPPING


async def test_end_does_not_wait_for_who_is_connected(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    async with listening(tmp_path, supervisor) as path:
        stream = await trio.open_unix_socket(path)
        await stream.send_all(GET[:5])

    async with stream:
        assert await read_all(stream) == b""


@pytest.fixture
def port(supervisor: Supervisor) -> int:
    """A port that nobody uses, and at which the supervisor is to listen."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
    control = ControlConfig(listen=("127.0.0.1", number), token=TOKEN)
    supervisor.config = attrs.evolve(supervisor.config, control=control)
    return number


async def ask_port(port: int, *more: str) -> bytes:
    head = "\r\n".join(["GET /v1/supervisor HTTP/1.0", f"Host: localhost:{port}", *more, "", ""])
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(head.encode())
        return await read_all(stream)


async def test_who_has_the_token_is_answered_at_the_port(
    tmp_path: Path, supervisor: Supervisor, port: int
) -> None:
    with capture_logs() as events:
        async with listening(tmp_path, supervisor):
            without = await ask_port(port)
            answer = await ask_port(port, f"Authorization: Bearer {TOKEN}")

    assert (without[:12], answer[:12]) == (b"HTTP/1.1 401", b"HTTP/1.1 200")
    assert [event["event"] for event in events] == ["control.listening", "control.refused"]
    assert events[0]["address"] == f"127.0.0.1:{port}"


async def test_port_in_use_is_said_and_the_socket_answers(
    tmp_path: Path, supervisor: Supervisor, port: int
) -> None:
    with capture_logs() as events, socket.create_server(("127.0.0.1", port)):
        async with listening(tmp_path, supervisor) as path:
            answer = await ask(path)

    assert answer.startswith(b"HTTP/1.1 200")
    expected = f"cannot listen at 127.0.0.1:{port}: Address already in use (EADDRINUSE)"
    assert [(e["event"], e["reason"]) for e in events] == [("control.unavailable", expected)]


async def test_those_who_come_by_tcp_take_nobody_elses_place(
    tmp_path: Path, supervisor: Supervisor, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST", 1)
    async with (
        listening(tmp_path, supervisor) as path,
        await trio.open_unix_socket(path) as kept,
    ):
        answer = await ask_port(port, f"Authorization: Bearer {TOKEN}")
        await kept.send_all(GET)
        still = await read_all(kept)

    assert (answer[:12], still[:12]) == (b"HTTP/1.1 200", b"HTTP/1.1 200")


async def test_readers_who_do_not_get_through_are_said(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    closed = tmp_path / "closed"
    (closed / "mocker").mkdir(parents=True)
    closed.chmod(0o700)
    control = ControlConfig(uids=frozenset({12345}))
    supervisor.config = attrs.evolve(supervisor.config, control=control)

    with capture_logs() as events:
        async with listening(closed / "mocker", supervisor) as path:
            mode = stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116

    reason = f"those who may look do not get through {closed}"
    assert [(e["event"], e["reason"]) for e in events] == [("control.unreachable", reason)]
    assert mode == 0o666
