"""Lines as they come, and all at once, of something that answers at a real socket."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mocker.supervisor.client.answer_lines import AnswerLines
from mocker.supervisor.client.blocking_transport import BlockingTransport, run_blocking
from mocker.supervisor.client.client import Client
from mocker.supervisor.client.exchange import AnswerError
from tests.supervisor.client.fake_supervisor import answering, make_lines, make_refusal

ONE, TWO = {"job": "one"}, {"job": "two"}
REFUSAL = {"error": {"code": "busy", "message": "too many others"}}


def follow(directory: Path, answer: bytes, *, text: bool = False) -> list[object]:
    """Return what comes of an answer, and what it ends with if that is an error."""
    found: list[object] = []

    async def read(lines: AnswerLines) -> None:
        async with lines:
            while text and (part := await lines.receive_text()):
                found.append(part)
            async for line in lines:
                found.append(line)  # noqa: PERF401 - the last one may be an error

    with answering(directory, answer):
        try:
            ask(read)
        except AnswerError as error:
            found.append(error.code)
    return found


def ask(use: Callable[[AnswerLines], Awaitable[object]]) -> object:
    async def run() -> object:
        async with Client("demo", transport=BlockingTransport()) as client:
            return await use(client.events())

    return run_blocking(run())


def test_objects_come_one_after_the_other(tmp_path: Path) -> None:
    assert follow(tmp_path, make_lines(ONE, TWO)) == [ONE, TWO]


def test_text_comes_in_whole_lines(tmp_path: Path) -> None:
    found = follow(tmp_path, make_lines(ONE, TWO), text=True)

    assert found == [b'{"job": "one"}\n{"job": "two"}\n']


def test_line_that_says_why_there_are_no_more_comes_after_the_others(tmp_path: Path) -> None:
    assert follow(tmp_path, make_lines(ONE, REFUSAL)) == [ONE, "busy"]


def test_refusal_is_told_before_any_line(tmp_path: Path) -> None:
    assert follow(tmp_path, make_refusal(409, "busy", "no")) == ["busy"]


def test_all_lines_are_waited_for(tmp_path: Path) -> None:
    async def wait(lines: AnswerLines) -> object:
        return await lines

    with answering(tmp_path, make_lines(ONE, TWO)):
        assert ask(wait) == [ONE, TWO]


def test_nothing_is_received_outside_of_a_block(tmp_path: Path) -> None:
    async def receive(lines: AnswerLines) -> object:
        return await lines.receive_text()

    with answering(tmp_path), pytest.raises(RuntimeError, match="async with"):
        ask(receive)
