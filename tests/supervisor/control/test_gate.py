"""What stands before the resources."""

import json

import pytest
import trio
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from mocker.supervisor.config import ControlConfig
from mocker.supervisor.control.connections import Connection, Followers
from mocker.supervisor.control.gate import Gate
from mocker.supervisor.control.guard import Guard
from mocker.supervisor.control.peers import Peer, Remote

HOST = (b"host", b"127.0.0.1:9000")
CONTROL = ControlConfig(
    uids=frozenset({70_001}),
    listen=("127.0.0.1", 9000),
    token="let-me-in",  # noqa: S106 - it opens nothing
)


async def answer_all(scope: Scope, receive: Receive, send: Send) -> None:
    await Response("behind")(scope, receive, send)


async def ask(peer: Peer | Remote, method: str, *headers: tuple[bytes, bytes]) -> list[Message]:
    """Return the messages of an answer, its beginning and its body."""
    told: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nothing is to be read of who is refused")

    async def send(message: Message) -> None:
        told.append(message)

    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        scope = {
            "type": "http",
            "method": method,
            "path": "/v1/jobs",
            "headers": headers,
            "connection": Connection(theirs, peer, Followers(0, 0)),
        }
        await Gate(answer_all, Guard(CONTROL))(scope, receive, send)
    return told


async def test_who_may_ask_is_answered() -> None:
    start, body = await ask(Peer(7, 70_001, 9), "GET")

    assert (start["status"], body["body"]) == (200, b"behind")


@pytest.mark.parametrize(
    ("peer", "headers", "status", "code", "challenges"),
    [
        (Peer(7, 70_001, 9), (), 403, "not-allowed", 0),
        (Remote("192.0.2.7"), (HOST,), 401, "token-needed", 1),
        (Remote("192.0.2.7"), (HOST, (b"authorization", b"Bearer x")), 401, "wrong-token", 1),
        (Remote("192.0.2.7"), (), 421, "wrong-host", 0),
    ],
)
async def test_who_may_not_is_told_why_and_it_is_logged(
    peer: Peer | Remote,
    headers: tuple[tuple[bytes, bytes], ...],
    status: int,
    code: str,
    challenges: int,
) -> None:
    with capture_logs() as events:
        start, body = await ask(peer, "POST", *headers)

    assert (start["status"], json.loads(body["body"])["error"]["code"]) == (status, code)
    assert [name for name, _ in start["headers"]].count(b"www-authenticate") == challenges
    assert [(event["event"], event["code"]) for event in events] == [("control.refused", code)]
