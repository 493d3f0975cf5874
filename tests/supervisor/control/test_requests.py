"""What a request may say."""

from collections.abc import AsyncIterator, Sequence

import pytest
import trio
from starlette.requests import ClientDisconnect, Request
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.supervisor.control.connections import Connection, Followers
from mocker.supervisor.control.problems import RequestError
from mocker.supervisor.control.requests import check_keys, read_body, take, take_names
from tests.supervisor.control.control_world import ROOT


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        yield Connection(theirs, ROOT, Followers(0, 0))


def make_request(
    connection: Connection, parts: Sequence[bytes], *, is_whole: bool = True
) -> Request:
    """Return a request whose body comes in parts, and then perhaps never ends."""
    left = list(parts)

    async def receive() -> dict[str, object]:
        if not left and not is_whole:
            await trio.sleep_forever()
        part = left.pop(0) if left else b""
        return {"type": "http.request", "body": part, "more_body": bool(left) or not is_whole}

    return Request({"type": "http", "method": "POST", "connection": connection}, receive)


@pytest.mark.parametrize(
    ("parts", "values"),
    [([b'{"a":', b' "b"}'], {"a": "b"}), ([b""], {}), ([b" {} "], {}), ([b'{"\\ud800": 1}'], None)],
)
async def test_object_is_read(
    connection: Connection, parts: list[bytes], values: dict[str, object] | None
) -> None:
    body = await read_body(make_request(connection, parts))

    assert body == ({"\ud800": 1} if values is None else values)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"1", b"null", b"\xff", b"[" * 60_000, b"9" * 5000, b"{} {}"]
)
async def test_body_that_is_no_object_is_refused(connection: Connection, body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        await read_body(make_request(connection, [body]))

    assert (caught.value.code, caught.value.status) == ("bad-request", 400)


async def test_body_is_read_no_further_than_it_may_be_long(connection: Connection) -> None:
    request = make_request(connection, [b" " * 2**15] * 3, is_whole=False)

    with pytest.raises(RequestError) as caught:
        await read_body(request)

    assert (caught.value.code, caught.value.status) == ("too-big", 413)


async def test_who_owes_the_rest_of_a_body_is_not_being_answered(connection: Connection) -> None:
    async with trio.open_nursery() as nursery:
        with connection.stream.answering():
            nursery.start_soon(read_body, make_request(connection, [b"{"], is_whole=False))
            await wait_all_tasks_blocked()
            was_free = connection.is_free
            nursery.cancel_scope.cancel()
            await trio.lowlevel.cancel_shielded_checkpoint()

    assert was_free


async def test_who_has_sent_all_of_a_body_is_being_answered(connection: Connection) -> None:
    with connection.stream.answering():
        await read_body(make_request(connection, [b"{}"]))

        assert not connection.is_free


async def test_body_of_who_had_to_go_for_others_is_not_followed(connection: Connection) -> None:
    request = make_request(connection, [b"{}"])
    connection.close()

    with pytest.raises(ClientDisconnect):
        await read_body(request)


async def test_body_that_takes_too_long_is_refused(
    connection: Connection, autojump_clock: MockClock
) -> None:
    with pytest.raises(RequestError) as caught:
        await read_body(make_request(connection, [b"{"], is_whole=False))

    assert (caught.value.code, caught.value.status) == ("too-slow", 408)


@pytest.mark.parametrize(
    ("kind", "value"), [(str, "x"), (int, 3), (bool, True), (bool, False), (float, 1.5)]
)
def test_value_of_the_right_kind_is_taken(kind: type[object], value: object) -> None:
    assert take({"key": value}, "key", kind, None) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [(str, 1), (str, None), (int, True), (int, "1"), (bool, 1), (bool, "true"), (str, ["x"])],
)
def test_value_of_another_kind_is_refused(kind: type[object], value: object) -> None:
    with pytest.raises(RequestError, match="'key' is no"):
        take({"key": value}, "key", kind, "")


def test_value_that_is_missing_is_the_default() -> None:
    assert take({}, "key", int, 7) == 7


@pytest.mark.parametrize("names", [None, "web", [], [1], ["web", None], ["x"] * 10_001, {}])
def test_names_that_are_none_are_refused(names: object) -> None:
    with pytest.raises(RequestError):
        take_names({"jobs": names})


def test_names_are_taken() -> None:
    assert take_names({"jobs": ["web", "db"]}) == ["web", "db"]


def test_unknown_key_is_refused() -> None:
    with pytest.raises(RequestError, match="unknown key 'y'"):
        check_keys({"x": 1, "z": 2, "y": 3}, ("x",))
