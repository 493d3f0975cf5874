"""How long one may say nothing, or take nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from trio.testing import MockClock

from mocker.supervisor.control.streams import PatientStream

Pair = tuple[PatientStream, trio.SocketStream]


@contextmanager
def open_pair() -> Iterator[Pair]:
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        yield PatientStream(ours), trio.SocketStream(theirs)


async def test_what_comes_is_received(autojump_clock: MockClock) -> None:
    with open_pair() as (stream, other):
        await other.send_all(b"GET")

        assert await stream.receive_some() == b"GET"


async def test_silence_is_an_end(autojump_clock: MockClock) -> None:
    with open_pair() as (stream, _):
        received = await stream.receive_some()

        assert (received, trio.current_time()) == (b"", 10)


async def test_what_came_before_anybody_could_read_it_is_not_late(
    autojump_clock: MockClock,
) -> None:
    with open_pair() as (stream, other):
        await other.send_all(b"GET")
        await trio.sleep(11)

        first = await stream.receive_some()
        was_late = stream.is_late
        second = await stream.receive_some()

        assert (first, was_late) == (b"GET", False)
        assert (second, stream.is_late, trio.current_time()) == (b"", True, 11)


async def test_end_of_what_comes_is_not_late(autojump_clock: MockClock) -> None:
    with open_pair() as (stream, other):
        await other.send_eof()

        assert (await stream.receive_some(), stream.is_late) == (b"", False)


async def test_request_that_comes_byte_by_byte_is_not_waited_for_longer(
    autojump_clock: MockClock,
) -> None:
    with open_pair() as (stream, other):
        count = 0

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip, other)
            while await stream.receive_some():
                count += 1
            nursery.cancel_scope.cancel()

        assert (count, trio.current_time()) == (4, 10)


async def drip(other: trio.SocketStream) -> None:
    while True:
        await trio.sleep(2.1)
        await other.send_all(b".")


async def test_nothing_has_to_come_during_an_answer(autojump_clock: MockClock) -> None:
    with open_pair() as (stream, other):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_for, stream, 1000)
            await trio.lowlevel.checkpoint()
            nursery.start_soon(send_after, other, 500)
            received = await stream.receive_some()

        assert received == b"next"


async def test_answer_ends_the_silence_before_it(autojump_clock: MockClock) -> None:
    with open_pair() as (stream, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_for, stream, 9)
            received = await stream.receive_some()

        assert (received, trio.current_time()) == (b"", 19)


async def answer_for(stream: PatientStream, seconds: float) -> None:
    with stream.answering():
        await trio.sleep(seconds)


async def send_after(other: trio.SocketStream, seconds: float) -> None:
    await trio.sleep(seconds)
    await other.send_all(b"next")


async def test_answer_that_nobody_takes_breaks_the_connection(autojump_clock: MockClock) -> None:
    with open_pair() as (stream, _):
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(bytes(2**22))

        assert trio.current_time() == 10
