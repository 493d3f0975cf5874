import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.reload import Difference
from mocker.supervisor.turns import NoTurnError, TooManyTurnsError, Turns

NOTHING = Difference(added=(), removed=(), changed={}, unchanged=(), needs_restart=())


async def test_who_waits_is_told_what_came_of_it() -> None:
    turns = Turns()
    turn = turns.ask()

    (await turns.begin()).end(NOTHING)

    assert await turn.wait() is NOTHING


async def test_what_it_ended_with_is_raised() -> None:
    turns = Turns()
    turn = turns.ask({"web": 2})

    (await turns.begin()).end(ValueError("no"))

    with pytest.raises(ValueError, match="no"):
        await turn.wait()


async def test_turns_are_taken_in_the_order_in_which_they_were_asked_for() -> None:
    turns = Turns()
    counts = [{"web": 1}, None, {"web": 2}, {"web": 3}]
    for count in counts:
        turns.ask(count)

    assert [(await turns.begin()).counts for _ in counts] == counts


async def test_reloads_that_have_not_begun_are_one() -> None:
    turns = Turns()

    assert turns.ask() is turns.ask()


async def test_reload_that_has_begun_is_not_the_next_one() -> None:
    turns = Turns()
    first = turns.ask()
    await turns.begin()

    second = turns.ask()

    assert second is not first
    assert turns.ask() is second


async def test_reload_after_a_scale_is_not_the_one_before_it() -> None:
    turns = Turns()
    first = turns.ask()
    turns.ask({"web": 2})

    assert turns.ask() is not first


async def test_no_more_than_so_many_wait_and_a_reload_always_may() -> None:
    turns = Turns()
    turns.ask({"web": 1})
    await turns.begin()
    for _ in range(100):
        turns.ask({"web": 2})

    with pytest.raises(TooManyTurnsError, match="100 others are waited for"):
        turns.ask({"web": 2})
    reload = turns.ask()
    with pytest.raises(TooManyTurnsError):
        turns.ask({"web": 2})

    assert turns.ask() is reload


async def test_turn_that_has_begun_makes_room() -> None:
    turns = Turns()
    for _ in range(100):
        turns.ask({"web": 2})

    await turns.begin()

    assert turns.ask({"web": 3}).counts == {"web": 3}


async def test_next_turn_is_waited_for() -> None:
    turns = Turns()
    begun = []

    async def begin() -> None:
        begun.append(await turns.begin())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(begin)
        await wait_all_tasks_blocked()
        turn = turns.ask()

    assert begun == [turn]


async def test_all_that_wait_at_the_end_are_told_so() -> None:
    turns = Turns()
    begun, waiting = turns.ask(), turns.ask({"web": 2})
    await turns.begin()

    turns.end()

    for turn, extent in ((begun, "not all"), (waiting, "nothing"), (turns.ask(), "nothing")):
        with pytest.raises(NoTurnError, match=f"^{extent} is changed: the supervisor is stopping"):
            await turn.wait()
