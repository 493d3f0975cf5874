from functools import partial

import trio
from trio.testing import MockClock

from mocker.supervisor.racing import until


async def test_block_is_left_once_something_else_has_happened(autojump_clock: MockClock) -> None:
    begin, reached = trio.current_time(), False

    async with until(partial(trio.sleep, 5)):
        await trio.sleep(10)
        reached = True

    assert (trio.current_time() - begin, reached) == (5, False)


async def test_block_that_comes_to_its_end_waits_for_nothing_else(
    autojump_clock: MockClock,
) -> None:
    begin = trio.current_time()

    async with until(trio.sleep_forever):
        await trio.sleep(3)

    assert trio.current_time() - begin == 3
