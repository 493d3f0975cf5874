"""What comes of a request while it is answered."""

from collections.abc import Mapping

import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.control.intake import Intake

START: dict[str, object] = {"type": "http.response.start"}
LAST: dict[str, object] = {"type": "http.disconnect"}


class Request:
    """A request whose parts come when a test says so, and the parts of its answer."""

    def __init__(self, parts: int = 0) -> None:
        self.give, self._take = trio.open_memory_channel[dict[str, object]](parts)
        self.answer: list[object] = []
        self.intake = Intake(self.receive, self.send)

    async def receive(self) -> dict[str, object]:
        return await self._take.receive()

    async def send(self, message: Mapping[str, object]) -> None:
        self.answer.append(message)


def make_part(number: int) -> dict[str, object]:
    return {"type": "http.request", "body": b"%d" % number, "more_body": True}


async def test_parts_come_in_order() -> None:
    request = Request()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request.intake.run)
        for number in range(3):
            nursery.start_soon(request.give.send, make_part(number))
            assert await request.intake.receive() == make_part(number)
        nursery.cancel_scope.cancel()


async def test_parts_that_nobody_wants_wait_until_the_answer_begins() -> None:
    request = Request(10)
    for number in range(10):
        request.give.send_nowait(make_part(number))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request.intake.run)
        await wait_all_tasks_blocked()
        waiting = request.give.statistics().current_buffer_used
        await request.intake.send(START)
        await wait_all_tasks_blocked()
        left = request.give.statistics().current_buffer_used
        nursery.cancel_scope.cancel()

    assert (waiting, left, request.answer) == (9, 0, [START])


async def test_end_of_the_connection_is_told_after_the_answer_has_begun() -> None:
    request = Request(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request.intake.run)
        await request.intake.send(START)
        request.give.send_nowait(make_part(1))
        request.give.send_nowait(LAST)
        message = await request.intake.receive()
        nursery.cancel_scope.cancel()

    assert message == LAST
