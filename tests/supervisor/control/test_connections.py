"""Who has a place, and who loses it."""

import os
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import trio

from mocker.supervisor.control.connections import Connection, Connections, Followers, Length
from mocker.supervisor.control.peers import Remote
from mocker.supervisor.control.problems import RequestError
from tests.supervisor.control.control_world import ROOT

MOST, MOST_ENDLESS, MOST_LASTING = 3, 1, 2

Client = trio.socket.SocketType


class Clients:
    """Clients of a server with three places.

    Attributes:
        connections: The places.
        sockets: Their ends, in the order in which they came.
    """

    def __init__(self) -> None:
        self.connections = Connections(MOST, MOST_ENDLESS, MOST_LASTING)
        self.sockets: list[Client] = []

    def come(self) -> Connection | None:
        ours, theirs = trio.socket.socketpair()
        self.sockets.append(ours)
        connection = self.connections.add(theirs, ROOT)
        if connection is None:
            theirs.close()
        return connection

    def fill(self) -> list[Connection]:
        found = [self.come() for _ in range(MOST)]
        return [connection for connection in found if connection is not None]


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    clients = Clients()
    yield clients
    clients.connections.close()
    for socket in clients.sockets:
        socket.close()


def is_open(connection: Connection) -> bool:
    return connection.stream.socket.fileno() >= 0


async def test_oldest_that_asks_nothing_goes_for_a_new_one(clients: Clients) -> None:
    filled = clients.fill()

    new = clients.come()

    assert new is not None
    assert [is_open(each) for each in [*filled, new]] == [False, True, True, True]
    answer = await clients.sockets[0].recv(1000)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'{"error": {"code": "busy", ' in answer
    assert await clients.sockets[0].recv(1000) == b""


async def test_one_that_was_answered_goes_without_a_word(clients: Clients) -> None:
    filled = clients.fill()
    await clients.sockets[0].send(b"GET")
    await filled[0].stream.receive_some()
    with filled[0].stream.answering():
        filled[0].stream.has_said = False  # all that came is answered, as HTTP says

    clients.come()

    assert [is_open(each) for each in filled] == [False, True, True]
    assert await clients.sockets[0].recv(1000) == b""


async def test_one_that_asks_again_after_an_answer_is_told_why_it_goes(clients: Clients) -> None:
    filled = clients.fill()
    for each, socket in zip(filled, clients.sockets, strict=True):
        with each.stream.answering():
            pass
        await socket.send(b"GET")
        await each.stream.receive_some()

    clients.come()

    assert [is_open(each) for each in filled] == [False, True, True]
    assert (await clients.sockets[0].recv(1000)).startswith(b"HTTP/1.1 503 ")


async def test_one_that_has_left_in_the_middle_of_an_answer_is_told_nothing_else() -> None:
    connections = Connections(1, 1, 1)
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        stream = await trio.open_tcp_stream(*listener.getsockname())
        accepted, _ = await listener.accept()
    first = connections.add(accepted, Remote("127.0.0.1"))
    assert first is not None
    first.stream.answers = 1
    await stream.send_eof()
    ours, theirs = trio.socket.socketpair()

    connections.add(theirs, ROOT)

    async with stream:
        assert await stream.receive_some() == b""
    connections.close()
    ours.close()


async def test_one_whose_request_is_answered_stays(clients: Clients) -> None:
    filled = clients.fill()

    with filled[0].stream.answering():
        clients.come()
        kept = [is_open(each) for each in filled]

    assert kept == [True, False, True]


async def test_one_whose_question_is_not_read_yet_stays(clients: Clients) -> None:
    filled = clients.fill()
    await clients.sockets[0].send(b"GET")

    clients.come()

    assert [is_open(each) for each in filled] == [True, False, True]


async def test_new_one_gets_no_place_when_all_are_answered(clients: Clients) -> None:
    for each in clients.fill():
        each.stream.answers = 1

    assert clients.come() is None


async def test_one_that_has_left_goes_though_it_is_answered(clients: Clients) -> None:
    filled = clients.fill()
    for each in filled:
        each.stream.answers = 1
    clients.sockets[1].close()

    new = clients.come()

    assert new is not None
    assert [is_open(each) for each in filled] == [True, False, True]


async def test_place_is_free_again(clients: Clients) -> None:
    filled = clients.fill()
    clients.connections.remove(filled[1])
    clients.connections.remove(filled[1])

    clients.come()

    assert [is_open(each) for each in filled] == [True, False, True]


async def test_all_can_be_ended(clients: Clients) -> None:
    filled = clients.fill()

    clients.connections.close()

    assert [is_open(each) for each in filled] == [False] * MOST


async def test_half_a_question_counts_for_more_than_none(clients: Clients) -> None:
    filled = clients.fill()
    await clients.sockets[0].send(b"GET")
    await filled[0].stream.receive_some()

    opened = [clients.come() for _ in range(2)]

    assert None not in opened
    assert [is_open(each) for each in filled] == [True, False, False]


async def test_half_a_question_goes_when_there_are_only_such_and_is_answered(
    clients: Clients,
) -> None:
    filled = clients.fill()
    for each, socket in zip(filled, clients.sockets, strict=True):
        await socket.send(b"GET")
        await each.stream.receive_some()

    clients.come()

    assert [is_open(each) for each in filled] == [False, True, True]
    answer = await clients.sockets[0].recv(1000)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'{"error": {"code": "busy", ' in answer
    assert await clients.sockets[0].recv(1000) == b""


async def test_one_that_owes_the_rest_of_its_question_goes_and_is_answered(
    clients: Clients,
) -> None:
    filled = clients.fill()
    for each, socket in zip(filled, clients.sockets, strict=True):
        await socket.send(b"POST")
        await each.stream.receive_some()
        each.stream.answers = 1

    with filled[1].awaiting_rest():
        clients.come()

    assert [is_open(each) for each in filled] == [True, False, True]
    assert (await clients.sockets[1].recv(1000)).startswith(b"HTTP/1.1 503 ")


async def test_one_whose_question_has_become_whole_stays(clients: Clients) -> None:
    filled = clients.fill()
    filled[0].stream.answers = 1

    with filled[0].awaiting_rest():
        pass
    clients.come()

    assert [is_open(each) for each in filled] == [True, False, True]


@pytest.mark.parametrize(("ends", "has_left"), [(False, False), (True, True)])
async def test_remote_one_that_sends_nothing_more_has_left(ends: bool, has_left: bool) -> None:
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen()
        stream = await trio.open_tcp_stream(*listener.getsockname())
        accepted, _ = await listener.accept()
    connection = Connection(accepted, Remote("127.0.0.1"), Followers(0, 0))

    if ends:
        await stream.send_eof()
    left = connection.has_left

    async with stream:
        connection.close()
    assert left is has_left


async def test_who_takes_nothing_is_ended_all_the_same(clients: Clients) -> None:
    filled = clients.fill()
    for each, socket in zip(filled, clients.sockets, strict=True):
        await socket.send(b"GET")
        await each.stream.receive_some()
        with suppress(BlockingIOError):
            while True:
                os.write(each.stream.socket.fileno(), bytes(2**16))

    clients.come()

    assert [is_open(each) for each in filled] == [False, True, True]


async def test_only_so_many_may_follow_at_a_time(clients: Clients) -> None:
    first, second, third = clients.fill()

    with (
        first.lasting(Length.ENDLESS),
        pytest.raises(RequestError) as caught,
        second.lasting(Length.ENDLESS),
    ):
        pass
    with third.lasting(Length.ENDLESS):
        pass

    assert (caught.value.code, caught.value.status) == ("busy", 503)
    assert str(caught.value) == "cannot follow: too many others follow or wait (1); try again"


@pytest.mark.parametrize("other", [Length.ENDLESS, Length.LONG])
async def test_some_more_may_wait_for_an_end_but_not_all(clients: Clients, other: Length) -> None:
    first, second, third = clients.fill()

    with first.lasting(other), second.lasting(Length.LONG):
        with pytest.raises(RequestError) as caught, third.lasting(Length.LONG):
            pass
        with third.lasting(Length.SHORT):
            pass

    assert (caught.value.code, caught.value.status) == ("busy", 503)
    assert str(caught.value) == "cannot answer: too many others follow or wait (2); try again"


async def test_one_that_is_closed_already_makes_place(clients: Clients) -> None:
    first, *_ = clients.fill()
    await first.stream.aclose()

    assert clients.come() is not None
