import json

import pytest

from mocker.isolation import ContainerSpec, ExitStatus
from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.exchange import AnswerError, ProtocolError
from mocker.supervisor.client.exec_messages import (
    Course,
    render_attach,
    render_exec,
    render_signal,
    render_size,
)


def follow(*news: object) -> Course:
    """Return what becomes of something of which this is told; None for the end."""
    course = Course("it is gone")
    for each in news:
        course.feed(b"" if each is None else json.dumps(each).encode())
    return course


def test_process_is_asked_for_with_all_that_counts() -> None:
    spec = ContainerSpec(["echo", "\udcff"], env={"A": "1"}, user="nobody", workdir="/tmp")

    message = render_exec("web", spec)

    assert json.loads(message.decode("utf-8", "surrogateescape")) == {
        "job": "web",
        "argv": ["echo", "\udcff"],
        "env": {"A": "1"},
        "user": "nobody",
        "workdir": "/tmp",
        "terminal": False,
    }
    assert b"\xff" in message


def test_all_else_is_short() -> None:
    assert render_attach("web") == b'{"attach": "web"}'
    assert render_signal(15) == b'{"signal": 15}'
    assert render_size(24, 80) == b'{"size": [24, 80]}'


def test_nothing_is_known_before_it_is_told() -> None:
    course = follow()

    assert (course.started, course.version, course.status, course.failure) == (
        False,
        "",
        None,
        None,
    )


def test_version_comes_with_the_first_answer_and_stays() -> None:
    assert follow({"started": 5, "version": "77.0"}, {"exited": 0}).version == "77.0"
    assert follow({"error": {"message": "no"}, "version": "77.0"}).version == "77.0"


@pytest.mark.parametrize(
    ("news", "status"),
    [({"exited": 3}, ExitStatus(code=3)), ({"killed": 9}, ExitStatus(signal=9))],
)
def test_end_has_a_status(news: object, status: ExitStatus) -> None:
    course = follow({"started": 5}, news)

    assert (course.status, course.failure) == (status, None)


@pytest.mark.parametrize(
    ("exit_code", "status"), [(127, 127), (None, 125), ("one", 125)], ids=["known", "none", "text"]
)
def test_refusal_has_a_status(exit_code: object, status: int) -> None:
    course = follow({"error": {"code": "x", "message": "no"}, "exit_code": exit_code})

    assert isinstance(course.failure, AnswerError)
    assert (course.failure.code, str(course.failure)) == ("x", "no")
    assert course.status == ExitStatus(code=status)


def test_text_of_a_refusal_may_be_no_utf_8() -> None:
    course = Course("")

    course.feed(b'{"error": {"message": "no \xff"}}')

    assert str(course.failure) == "no \udcff"


@pytest.mark.parametrize(
    ("news", "status", "text"),
    [
        ([], ExitStatus(code=125), "cannot ask the supervisor: it is gone, or lets nobody in"),
        ([{"started": 5}], ExitStatus(signal=9), "it is gone"),
    ],
)
def test_end_of_the_supervisor_is_the_end(
    news: list[object], status: ExitStatus, text: str
) -> None:
    course = follow(*news, None)

    assert isinstance(course.failure, NoSupervisorError)
    assert (str(course.failure), course.status) == (text, status)


@pytest.mark.parametrize("message", [b"hello", b"[]", b"\xff"])
def test_what_no_supervisor_tells_is_the_end(message: bytes) -> None:
    course = Course("")

    course.feed(message)

    assert isinstance(course.failure, ProtocolError)
    assert course.status == ExitStatus(code=125)


def test_what_a_later_version_tells_is_no_matter() -> None:
    course = follow({"thawed": 5}, {"error": "text"}, {"exited": "text"})

    assert (course.status, course.failure) == (None, None)


def test_stop_is_told_once_and_not_after_the_end() -> None:
    course = follow({"started": 5}, {"stopped": 20})

    assert (course.take_stop(), course.take_stop()) == (20, 0)
    assert follow({"stopped": 20}, {"exited": 0}).take_stop() == 0
