import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.supervisor.changes import Watcher
from mocker.supervisor.control.following import Pace, Recipient

_PIECE = 2**16


class Reader:
    """Whoever is given something.

    Attributes:
        got: The parts, as they were sent.
        moments: When.
        has_room: Whether it takes anything.
    """

    def __init__(self, pace: Pace) -> None:
        self.recipient = Recipient(pace, self._wait_room, self._put)
        self.got: list[bytes] = []
        self.moments: list[float] = []
        self.has_room = trio.Event()
        self.has_room.set()

    async def _wait_room(self) -> None:
        await self.has_room.wait()

    async def _put(self, text: bytes) -> None:
        self.got.append(text)
        self.moments.append(trio.current_time())
        await trio.lowlevel.checkpoint()


def fill(*texts: bytes) -> Watcher:
    """Return something that ends after these texts."""
    watcher = Watcher()
    for text in texts:
        watcher.put(text)
    watcher.end()
    return watcher


async def test_text_is_given_in_pieces(autojump_clock: MockClock) -> None:
    reader = Reader(Pace())

    await reader.recipient.give(fill(b"x" * (2 * _PIECE + 1)))

    assert list(map(len, reader.got)) == [_PIECE, _PIECE, 1]


async def test_what_is_followed_is_given_to_its_end(autojump_clock: MockClock) -> None:
    reader = Reader(Pace())

    await reader.recipient.follow(fill(b"x" * (_PIECE + 1)))

    assert list(map(len, reader.got)) == [_PIECE, 1]


async def test_what_comes_is_given_at_once() -> None:
    reader, watcher = Reader(Pace()), Watcher()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.recipient.follow, watcher)
            await wait_all_tasks_blocked()

            watcher.put(b"one\n")
            await wait_all_tasks_blocked()
            got = list(reader.got)
            watcher.end()

    assert got == [b"one\n"]


async def test_nothing_is_taken_for_one_that_has_no_room() -> None:
    reader, watcher = Reader(Pace()), Watcher()
    reader.has_room = trio.Event()
    watcher.put(b"one\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.recipient.follow, watcher)

        await wait_all_tasks_blocked()

        assert (watcher.has_more, reader.got) == (True, [])
        nursery.cancel_scope.cancel()


async def test_one_without_room_holds_up_nobody(autojump_clock: MockClock) -> None:
    pace = Pace()
    stalled, reader = Reader(pace), Reader(pace)
    stalled.has_room = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stalled.recipient.follow, fill(b"x"))
        await wait_all_tasks_blocked()

        await reader.recipient.follow(fill(b"x"))

        nursery.cancel_scope.cancel()
    assert reader.moments == [pytest.approx(trio.current_time())]


async def test_all_together_are_given_no_more_than_their_share(autojump_clock: MockClock) -> None:
    pace = Pace()
    readers = [Reader(pace) for _ in range(50)]
    begin = trio.current_time()

    async with trio.open_nursery() as nursery:
        for reader in readers:
            nursery.start_soon(reader.recipient.give, fill(*[b"x" * _PIECE] * 64))

    size = 50 * 2**22
    assert 64 * 2**20 * 0.4 < size / (trio.current_time() - begin) < 64 * 2**20


async def test_all_have_the_same_share(autojump_clock: MockClock) -> None:
    pace = Pace()
    readers = [Reader(pace) for _ in range(10)]

    async with trio.open_nursery() as nursery:
        for reader in readers:
            nursery.start_soon(reader.recipient.give, fill(*[b"x" * _PIECE] * 64))

    ends = [reader.moments[-1] for reader in readers]
    assert max(ends) - min(ends) < 0.1


async def test_few_words_to_many_are_given_at_once(autojump_clock: MockClock) -> None:
    pace = Pace()
    readers = [Reader(pace) for _ in range(50)]
    await trio.sleep(1)
    begin = trio.current_time()

    async with trio.open_nursery() as nursery:
        for reader in readers:
            nursery.start_soon(reader.recipient.give, fill(b"one\n"))

    assert trio.current_time() - begin == pytest.approx(0)
