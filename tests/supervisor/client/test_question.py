import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.answer_lines import Object
from mocker.supervisor.client.client import Client
from mocker.supervisor.client.exchange import AnswerError, ProtocolError
from mocker.supervisor.client.question import LoopTransport, Question
from tests.supervisor.client.answerer import open_answerer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextmanager
def open_listener(directory: Path) -> Iterator[tuple[str, socket.socket]]:
    """Listen, and let the test say what is answered."""
    path = str(directory / "web.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        yield path, listener


def ask(path: str) -> Question:
    """Ask for lines."""

    async def follow() -> list[Object]:
        async with Client(path, transport=LoopTransport()) as client:
            return await client.events()

    return Question(follow())


async def look(path: str) -> list[Object]:
    async with Client(path, transport=LoopTransport()) as client:
        return await client.jobs("web")


def take_all(question: Question) -> None:
    while not question.is_answered:
        question.advance()


def test_answer_is_what_the_coroutine_returns(tmp_path: Path) -> None:
    with (
        open_answerer(tmp_path, {"/v1/jobs": {"jobs": [{"name": "web"}]}}) as (path, asked),
        closing(Question(look(path))) as question,
    ):
        take_all(question)

    assert (question.answer, asked) == ([{"name": "web"}], ["GET /v1/jobs?name=web"])


def test_lines_are_there_once_all_have_come(tmp_path: Path) -> None:
    with (
        open_listener(tmp_path) as (path, listener),
        closing(ask(path)) as question,
    ):
        connected, _ = listener.accept()
        with connected:
            connected.sendall(CHUNKED + b'8\r\n{"a":1}\n\r\n')
            question.advance()
            after_one = question.answer, question.is_answered
            connected.sendall(b'8\r\n{"a":2}\n\r\n0\r\n\r\n')
            question.advance()

    assert after_one == ([], False)
    assert (question.answer, question.is_answered) == ([{"a": 1}, {"a": 2}], True)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", NoSupervisorError),
        (b"hello\r\n\r\n", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", NoSupervisorError),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}", AnswerError),
    ],
)
def test_what_is_no_answer_is_an_error(
    answer: bytes, error: type[Exception], tmp_path: Path
) -> None:
    with (
        open_listener(tmp_path) as (path, listener),
        closing(ask(path)) as question,
    ):
        connected, _ = listener.accept()
        with connected:
            connected.sendall(answer)
            connected.shutdown(socket.SHUT_WR)
            with pytest.raises(error):
                take_all(question)


def test_supervisor_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(NoSupervisorError):
        ask(str(tmp_path / "none.sock"))
