import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.ask import Asker
from mocker.supervisor.client.exchange import AnswerError
from tests.supervisor.client.fake_supervisor import make_answer, make_lines, make_refusal


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return the ends of a connection, of who asks and of the supervisor."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


Ends = tuple[socket.socket, socket.socket]


def test_answer_is_an_object(ends: Ends) -> None:
    ends[1].sendall(make_answer({"jobs": []}))

    answer = Asker(ends[0]).ask("GET", "/v1/jobs", [("name", "web")])

    assert answer == {"jobs": []}
    assert ends[1].recv(1000).startswith(b"GET /v1/jobs?name=web HTTP/1.1\r\n")


def test_stream_is_one_object_after_the_other(ends: Ends) -> None:
    ends[1].sendall(make_lines({"job": "one"}, {"job": "two"}))

    lines = list(Asker(ends[0]).stream("POST", "/v1/wait", body={"jobs": ["all"]}))

    assert lines == [{"job": "one"}, {"job": "two"}]
    assert ends[1].recv(1000).endswith(b'\r\n\r\n{"jobs": ["all"]}')


def test_line_is_there_before_the_next_one(ends: Ends) -> None:
    whole = make_lines({"job": "one"}, {"job": "two"})
    ends[1].sendall(whole[:-5])
    lines = Asker(ends[0]).stream("GET", "/v1/events")

    first = next(lines)

    assert first == {"job": "one"}
    ends[1].sendall(whole[-5:])
    assert list(lines) == [{"job": "two"}]


def test_connection_is_closed_after_the_answer(ends: Ends) -> None:
    ends[1].sendall(make_answer({}))

    Asker(ends[0]).ask("GET", "/health")

    assert ends[0].fileno() == -1


@pytest.mark.parametrize("verb", ["ask", "stream"])
def test_refusal_is_an_error(ends: Ends, verb: str) -> None:
    ends[1].sendall(make_refusal(409, "needed", "others need it"))

    with pytest.raises(AnswerError, match=r"^others need it$"):
        list(getattr(Asker(ends[0]), verb)("POST", "/v1/actions", body={}))


def test_reason_for_which_nothing_is_read_is_heard(ends: Ends) -> None:
    ends[1].sendall(make_refusal(403, "forbidden", "this is not for you"))
    ends[1].close()

    # Nobody takes what is sent, and yet there is an answer.
    with pytest.raises(AnswerError, match=r"^this is not for you$"):
        Asker(ends[0]).ask("POST", "/v1/actions", body={"jobs": ["all"]})


def test_question_that_nobody_takes_does_not_end_the_process() -> None:
    # As in the command, where SIGPIPE has its default action.
    program = """if True:
        import signal, socket
        from mocker.supervisor.client.ask import Asker
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        ours, theirs = socket.socketpair()
        theirs.close()
        Asker(ours).ask("GET", "/v1/jobs")
    """

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert (result.returncode, "it is gone, or lets nobody in" in result.stderr) == (1, True)


def test_supervisor_that_says_nothing_and_goes_is_gone(ends: Ends) -> None:
    ends[1].close()

    with pytest.raises(NoSupervisorError, match="it is gone, or lets nobody in"):
        Asker(ends[0]).ask("GET", "/v1/jobs")


@pytest.mark.parametrize("verb", ["ask", "stream"])
def test_supervisor_that_goes_in_the_middle_is_gone(ends: Ends, verb: str) -> None:
    ends[1].sendall(make_answer({"jobs": []})[:-1])
    ends[1].close()

    with pytest.raises(NoSupervisorError, match="the supervisor is gone"):
        list(getattr(Asker(ends[0]), verb)("GET", "/v1/jobs"))


def test_look_is_not_waited_for_forever(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mocker.supervisor.client.ask._PATIENCE_S", 0.01)

    with pytest.raises(NoSupervisorError, match=r"has not answered for 0\.01 s"):
        Asker(ends[0]).ask("GET", "/v1/jobs")


def test_version_is_told_once_and_before_the_answer(ends: Ends) -> None:
    told: list[str] = []
    ends[1].sendall(make_lines({"job": "one"}, {"job": "two"}))

    with ExitStack() as stack:
        lines = Asker(ends[0], told.append).stream("GET", "/v1/events")
        stack.callback(list, lines)
        next(lines)

        assert told == ["0.1.0"]
    assert told == ["0.1.0"]
