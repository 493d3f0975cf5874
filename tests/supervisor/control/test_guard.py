"""Who may do what, and how often it is said that somebody may not."""

import os

import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from mocker.supervisor.config import ControlConfig
from mocker.supervisor.control.guard import Guard, TokenError
from mocker.supervisor.control.peers import Peer, Remote
from mocker.supervisor.control.problems import RequestError

READERS = ControlConfig(uids=frozenset({70_001}), gids=frozenset({70_011, 70_012}))
TOKEN = "let-me-in"  # noqa: S105 - it opens nothing
STRANGER = Peer(7, 70_099, 70_099, frozenset({70_001}))
READER = Peer(7, 70_099, 70_099, frozenset({5, 70_012}))
REMOTE = Remote("192.0.2.7")
REFUSED = RequestError("not-allowed", 403, "no")
HOST = (b"host", b"127.0.0.1:9000")
AUTHORIZATION = (b"authorization", b"Bearer let-me-in")


def at(address: str, port: int = 9000) -> Guard:
    return Guard(ControlConfig(listen=(address, port), token=TOKEN))


def refusal(guard: Guard, *headers: tuple[bytes, bytes]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        guard.check(REMOTE, "GET", "/v1/jobs", headers)
    return caught.value


@pytest.mark.parametrize(
    ("peer", "enters"),
    [
        (Peer(7, 0, 0), True),
        (Peer(7, os.geteuid(), 9), True),
        (Peer(7, 70_001, 9), True),
        (Peer(7, 70_099, 70_011), True),
        (READER, True),
        (STRANGER, False),
        (Peer(7, 70_011, 70_001), False),
        (REMOTE, True),
    ],
)
def test_those_whom_the_file_lets_look_are_let_in(peer: Peer | Remote, enters: bool) -> None:
    assert Guard(READERS).lets_in(peer) is enters


@pytest.mark.parametrize("uid", [0, os.geteuid()])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/shutdown"), ("GET", "/v1/jobs/web/config")]
)
def test_owner_and_root_may_do_all(uid: int, method: str, path: str) -> None:
    Guard(READERS).check(Peer(7, uid, 9), method, path, ())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path", ["/health", "/metrics", "/v1/jobs", "/v1/logs", "/v1/events", "/v1/openapi.json"]
)
def test_reader_may_look(method: str, path: str) -> None:
    Guard(READERS).check(READER, method, path, ())


def test_reader_may_wait() -> None:
    Guard(READERS).check(READER, "POST", "/v1/wait", ())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/actions"),
        ("POST", "/v1/reload"),
        ("POST", "/v1/wait/"),
        ("PUT", "/v1/wait"),
        ("DELETE", "/v1/jobs"),
        ("get", "/v1/jobs"),
        ("GET", "/v1/jobs/web/config"),
        ("HEAD", "/v1/jobs/web/config"),
        ("GET", "/v1/jobs/web/config\n"),
    ],
)
def test_reader_may_do_nothing_and_not_see_the_environment(method: str, path: str) -> None:
    with pytest.raises(RequestError) as caught:
        Guard(READERS).check(READER, method, path, ())

    assert (caught.value.code, caught.value.status) == ("not-allowed", 403)


def test_stranger_may_not_look() -> None:
    with pytest.raises(RequestError, match="only the supervisor's owner and root"):
        Guard(READERS).check(STRANGER, "GET", "/v1/jobs", ())


def test_reader_may_not_do_what_is_for_the_owner() -> None:
    with pytest.raises(RequestError, match=r"only .* owner and root may do that: exec or attach"):
        Guard(READERS).check_owner(READER, "exec or attach")

    Guard(READERS).check_owner(Peer(7, os.geteuid(), 9), "exec or attach")


@pytest.mark.parametrize("value", [b"Bearer let-me-in", b"bearer let-me-in", b"BEARER   let-me-in"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_has_the_token_may_do_all(value: bytes, method: str) -> None:
    headers = (HOST, (b"authorization", value))

    at("127.0.0.1").check(REMOTE, method, "/v1/jobs/web/config", headers)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([], "token-needed"),
        ([b"Bearer other"], "wrong-token"),
        ([b"Bearer let-me-in2"], "wrong-token"),
        ([b"Bearer LET-ME-IN"], "wrong-token"),
        ([b"Bearer"], "wrong-token"),
        ([b"Bearer "], "wrong-token"),
        ([b"Bearer \xff"], "wrong-token"),
        ([b"Basic bGV0LW1lLWlu"], "wrong-token"),
        ([b"let-me-in"], "wrong-token"),
        ([b"Bearer let-me-in", b"Bearer let-me-in"], "wrong-token"),
    ],
)
def test_who_has_not_is_asked_for_it(values: list[bytes], code: str) -> None:
    error = refusal(at("127.0.0.1"), HOST, *((b"authorization", value) for value in values))

    assert isinstance(error, TokenError)
    assert (error.status, error.code) == (401, code)
    assert error.headers["WWW-Authenticate"].startswith('Bearer realm="mocker"')
    assert TOKEN not in str(error)


def test_no_token_opens_what_has_none() -> None:
    guard = Guard(ControlConfig(listen=("127.0.0.1", 9000)))

    assert refusal(guard, HOST, (b"authorization", b"Bearer x")).code == "wrong-token"


@pytest.mark.parametrize(
    ("address", "port", "host"),
    [
        ("127.0.0.1", 9000, b"127.0.0.1:9000"),
        ("127.0.0.1", 9000, b"localhost:9000"),
        ("127.0.0.1", 9000, b"LocalHost:9000"),
        ("127.0.0.1", 80, b"127.0.0.1"),
        ("::1", 9000, b"[::1]:9000"),
        ("0.0.0.0", 9000, b"192.0.2.1:9000"),  # noqa: S104 - nothing listens
    ],
)
def test_host_is_that_of_the_listener(address: str, port: int, host: bytes) -> None:
    at(address, port).check(REMOTE, "GET", "/v1/jobs", ((b"host", host), AUTHORIZATION))


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b"evil.example:9000"],
        [b"evil.example"],
        [b"127.0.0.1"],
        [b"127.0.0.1:9001"],
        [b"127.0.0.1:9000.evil.example"],
        [b"localhost.:9000"],
        [b"192.0.2.1:9000"],
        [b"user@127.0.0.1:9000"],
        [b"127.0.0.1:\xff"],
        [b"127.0.0.1:9000", b"evil.example:9000"],
    ],
)
def test_any_other_host_is_refused_even_with_the_token(hosts: list[bytes]) -> None:
    error = refusal(at("127.0.0.1"), *((b"host", host) for host in hosts), AUTHORIZATION)

    assert (error.status, error.code) == (421, "wrong-host")


async def test_who_is_refused_again_is_told_once_a_minute(autojump_clock: MockClock) -> None:
    guard = Guard(READERS)

    with capture_logs() as events:
        for step in (0, 59, 2):
            autojump_clock.jump(step)
            guard.tell(STRANGER, REFUSED)
            guard.tell(Peer(8, STRANGER.uid, 9), REFUSED)
            guard.tell(REMOTE, REFUSED)

    facts = [(e["event"], e["log_level"], e["code"]) for e in events]
    assert facts == [("control.refused", "warning", "not-allowed")] * 4
    told = [(e.get("uid"), e.get("pid"), e.get("address")) for e in events]
    assert told == [(70_099, 7, None), (None, None, "192.0.2.7")] * 2


async def test_those_who_were_refused_long_ago_are_forgotten(autojump_clock: MockClock) -> None:
    guard = Guard(READERS)
    with capture_logs():
        for uid in range(70_099, 70_154):
            guard.tell(Peer(7, uid, 9), REFUSED)
            autojump_clock.jump(10)

    assert len(guard._told) == 6
