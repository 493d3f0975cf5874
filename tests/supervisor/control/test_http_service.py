"""HTTP on one connection."""

import json
from collections.abc import Iterator

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from mocker.supervisor.config import ControlConfig
from mocker.supervisor.control.connections import Connection, Connections, Followers
from mocker.supervisor.control.guard import Guard
from mocker.supervisor.control.http_service import HttpService
from mocker.supervisor.control.problems import RequestError
from mocker.supervisor.lifecycle import State
from mocker.supervisor.supervise import Supervisor
from tests.supervisor.control.control_world import ROOT, make_supervisor, read_all, served

GET = b"GET /v1/supervisor HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with make_supervisor("web") as supervisor:
        yield supervisor


async def say(supervisor: Supervisor, *parts: bytes) -> tuple[bytes, float]:
    """Return what comes back until the connection ends, and when that is."""
    async with served(HttpService(supervisor, Guard(ControlConfig()))) as stream:
        for part in parts:
            await stream.send_all(part)
        answer = await read_all(stream)
    return answer, trio.current_time()


async def test_requests_are_answered_until_there_are_no_more(
    supervisor: Supervisor, autojump_clock: MockClock
) -> None:
    answer, ended_at = await say(supervisor, GET, GET)

    assert answer.count(b"HTTP/1.1 200") == 2
    assert ended_at == pytest.approx(10, abs=0.1)


async def test_answer_comes_in_one_piece(supervisor: Supervisor) -> None:
    async with served(HttpService(supervisor, Guard(ControlConfig()))) as stream:
        await stream.send_all(GET)
        piece = await stream.receive_some()

    head, _, body = piece.partition(b"\r\n\r\n")
    assert b"content-length: %d\r\n" % len(body) in head


async def test_head_alone_can_be_asked_for(supervisor: Supervisor) -> None:
    async with served(HttpService(supervisor, Guard(ControlConfig()))) as stream:
        await stream.send_all(GET.replace(b"GET", b"HEAD") + GET)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 2:
            answers += await stream.receive_some()

    assert answers.partition(b"\r\n\r\n")[2].startswith(b"HTTP/1.1 200")


async def test_head_of_what_goes_on_comes_at_once(supervisor: Supervisor) -> None:
    async with served(HttpService(supervisor, Guard(ControlConfig()))) as stream:
        await stream.send_all(b"GET /v1/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")

        with trio.fail_after(5):
            assert (await stream.receive_some()).endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"GET /v1",
        b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n",
        b"POST /v1/actions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        b"POST /v1/actions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9",
    ],
)
async def test_who_does_not_ask_in_time_is_told_so_once(
    supervisor: Supervisor, autojump_clock: MockClock, half: bytes
) -> None:
    answer, ended_at = await say(supervisor, half)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["error"]["code"] == "too-slow"
    assert ended_at == pytest.approx(10, abs=0.1)


async def test_who_is_silent_after_an_answer_is_told_nothing(
    supervisor: Supervisor, autojump_clock: MockClock
) -> None:
    async with served(HttpService(supervisor, Guard(ControlConfig()))) as stream:
        await stream.send_all(GET)
        await stream.receive_some()
        rest = await read_all(stream)

    assert rest == b""
    assert trio.current_time() == pytest.approx(10, abs=0.1)


async def test_half_a_request_after_an_answer_is_refused_after_a_while(
    supervisor: Supervisor, autojump_clock: MockClock
) -> None:
    answer, ended_at = await say(supervisor, GET + GET[:10])

    _, first, second = answer.split(b"HTTP/1.1 ")
    assert (first[:3], second[:3]) == (b"200", b"408")
    assert ended_at == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("turn", range(20))
async def test_half_a_request_that_comes_during_an_answer_is_refused_after_a_while(
    supervisor: Supervisor, autojump_clock: MockClock, turn: int
) -> None:
    async with served(HttpService(supervisor, Guard(ControlConfig()))) as stream:
        await stream.send_all(GET)
        for _ in range(turn):
            await trio.lowlevel.checkpoint()
        await stream.send_all(GET[:10])
        answer = await read_all(stream)

    _, first, second = answer.split(b"HTTP/1.1 ")
    assert (first[:3], second[:3]) == (b"200", b"408")


async def test_half_a_request_that_came_with_the_one_before_is_told_who_has_to_go(
    supervisor: Supervisor, autojump_clock: MockClock
) -> None:
    ours, theirs = trio.socket.socketpair()
    connections = Connections(1, 1, 1)
    connection = connections.add(theirs, ROOT)
    assert connection is not None

    async with trio.SocketStream(ours) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(HttpService(supervisor, Guard(ControlConfig())).serve, connection)
        await stream.send_all(GET + GET[:10])
        await stream.receive_some()
        await trio.sleep(1)
        other, its_end = trio.socket.socketpair()
        connections.add(its_end, ROOT)
        answer = await read_all(stream)
        other.close()
        connections.close()

    assert answer.startswith(b"HTTP/1.1 503 ")


async def test_who_asks_a_part_and_then_nothing_more_is_refused_at_once(
    supervisor: Supervisor, autojump_clock: MockClock
) -> None:
    async with served(HttpService(supervisor, Guard(ControlConfig()))) as stream:
        await stream.send_all(b"GET /v1")
        await stream.send_eof()
        answer = await read_all(stream)

    assert answer.startswith(b"HTTP/1.1 400")
    assert trio.current_time() < 1


class Crowd(trio.abc.Instrument):
    """Those for whom one has to go, just when all that he asks is taken from his socket."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def after_task_step(self, _: trio.lowlevel.Task) -> None:
        connection = self._connection
        if connection.stream.has_said and connection.is_free and not connection.is_closed:
            connection.refuse(RequestError("busy", 503, "too many others"))
            connection.close()


@pytest.mark.parametrize(
    ("path", "body"), [("shutdown", b""), ("actions", b'{"action": "start", "jobs": ["web"]}')]
)
async def test_request_is_not_followed_of_who_was_told_that_he_has_to_go(
    supervisor: Supervisor, path: str, body: bytes
) -> None:
    ours, theirs = trio.socket.socketpair()
    connection = Connection(theirs, ROOT, Followers(1, 1))
    head = f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"

    async with trio.SocketStream(ours) as stream:
        await stream.send_all(head.encode() + body)
        trio.lowlevel.add_instrument(crowd := Crowd(connection))
        await HttpService(supervisor, Guard(ControlConfig())).serve(connection)
        trio.lowlevel.remove_instrument(crowd)
        answer = await read_all(stream)

    assert answer.count(b"HTTP/1.1 503 ") == answer.count(b"HTTP/1.1 ") == 1
    assert supervisor.jobs["web"].life.state is State.STOPPED
    assert supervisor._ending is None


async def test_who_leaves_is_not_waited_for(
    supervisor: Supervisor, autojump_clock: MockClock
) -> None:
    async with served(HttpService(supervisor, Guard(ControlConfig()))) as stream:
        await stream.send_all(b"GET /v1")

    assert trio.current_time() < 1


async def test_who_leaves_while_he_is_answered_and_has_asked_on_is_noticed(
    supervisor: Supervisor, autojump_clock: MockClock
) -> None:
    body = b'{"action": "start", "jobs": ["web"]}'
    head = b"POST /v1/actions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)

    async with served(HttpService(supervisor, Guard(ControlConfig()))) as stream:
        await stream.send_all((head + body) * 2)
        await stream.receive_some()

    assert trio.current_time() < 5


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [("/v1/supervisor", 200, b'"name":"jobs"'), ("/nowhere", 404, b'"code":"no-such-resource"')],
)
async def test_who_would_go_on_as_a_websocket_is_answered_all_the_same(
    supervisor: Supervisor, autojump_clock: MockClock, path: str, status: int, told: bytes
) -> None:
    upgrade = [
        f"GET {path} HTTP/1.1",
        "Host: x",
        "Connection: upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: x",
    ]

    with capture_logs() as events:
        answer, _ = await say(supervisor, "\r\n".join([*upgrade, "", ""]).encode())

    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert told in answer
    assert events == []


async def test_mistake_of_the_supervisor_is_told_and_logged(
    supervisor: Supervisor, autojump_clock: MockClock
) -> None:
    supervisor.jobs["web"] = None  # type: ignore[assignment]

    with capture_logs() as events:
        answer, _ = await say(supervisor, b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n" + GET)

    assert answer.startswith(b"HTTP/1.1 500")
    assert b'"code":"internal"' in answer
    assert [(event["event"], event["path"]) for event in events] == [("control.failed", "/v1/jobs")]
