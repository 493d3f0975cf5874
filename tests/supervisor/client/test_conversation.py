"""A question and its answer, over a real connection; here the test is the supervisor."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.blocking_transport import BlockingTransport, run_blocking
from mocker.supervisor.client.connections import Connections
from mocker.supervisor.client.conversation import Conversation
from mocker.supervisor.client.exchange import AnswerError, ProtocolError
from mocker.supervisor.client.resources import Request
from tests.supervisor.client.fake_supervisor import make_answer, make_lines, make_refusal

LOOK: Request = ("GET", "/v1/jobs", [("name", "web")], None)
ACT: Request = ("POST", "/v1/actions", (), {"jobs": ["all"]})


class Ends:
    """A conversation, and the supervisor's end of its connection.

    Attributes:
        conversation: It.
        theirs: The supervisor's end.
        told: The versions that were told.
    """

    def __init__(self, path: Path) -> None:
        self.told: list[str] = []
        self._connections = Connections(BlockingTransport())
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            run_blocking(self._connections.find(str(path)))
            ours = run_blocking(self._connections.open())
            self.theirs, _ = listener.accept()
        self.conversation = Conversation(self._connections, ours, self.told.append)

    def ask(self, request: Request) -> dict[str, object]:
        return run_blocking(self.conversation.ask(request))

    def read_lines(self, request: Request) -> bytes:
        """Return all that is answered in lines."""
        run_blocking(self.conversation.ask_for_lines(request))
        return b"".join(iter(self.receive, b""))

    def receive(self) -> bytes:
        return run_blocking(self.conversation.receive_text())

    def close(self) -> None:
        self.theirs.close()
        self._connections.close_all()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(tmp_path / "web.sock")
    yield ends
    ends.close()


def test_answer_is_an_object(ends: Ends) -> None:
    ends.theirs.sendall(make_answer({"jobs": []}))

    answer = ends.ask(LOOK)

    assert answer == {"jobs": []}
    assert ends.theirs.recv(1000).startswith(b"GET /v1/jobs?name=web HTTP/1.1\r\n")


def test_lines_are_text(ends: Ends) -> None:
    ends.theirs.sendall(make_lines({"job": "one"}, {"job": "two"}))

    lines = ends.read_lines(ACT)

    assert list(map(json.loads, lines.splitlines())) == [{"job": "one"}, {"job": "two"}]
    assert ends.theirs.recv(1000).endswith(b'\r\n\r\n{"jobs": ["all"]}')


def test_line_is_there_before_the_next_one(ends: Ends) -> None:
    whole = make_lines({"job": "one"}, {"job": "two"})
    ends.theirs.sendall(whole[:-5])
    run_blocking(ends.conversation.ask_for_lines(LOOK))

    first = ends.receive()

    assert first == b'{"job": "one"}\n'
    ends.theirs.sendall(whole[-5:])
    assert (ends.receive(), ends.receive()) == (b'{"job": "two"}\n', b"")


@pytest.mark.parametrize("verb", ["ask", "read_lines"])
def test_refusal_is_an_error(ends: Ends, verb: str) -> None:
    ends.theirs.sendall(make_refusal(409, "needed", "others need it"))

    with pytest.raises(AnswerError, match=r"^others need it$"):
        getattr(ends, verb)(ACT)


def test_reason_for_which_nothing_is_read_is_heard(ends: Ends) -> None:
    ends.theirs.sendall(make_refusal(403, "forbidden", "this is not for you"))
    ends.theirs.close()

    # Nobody takes what is sent, and yet there is an answer.
    with pytest.raises(AnswerError, match=r"^this is not for you$"):
        ends.ask(ACT)


def test_question_of_any_length_is_sent_while_somebody_takes_it(ends: Ends) -> None:
    body = {"jobs": ["x" * 100] * 10_000}
    size = len(json.dumps(body))
    program = f"""if True:
        import socket
        with socket.socket(fileno={ends.theirs.fileno()}) as end:
            taken = 0
            while taken < {size}:
                taken += len(end.recv(65536))
            end.sendall({make_answer({"taken": True})!r})
    """

    with subprocess.Popen([sys.executable, "-c", program], pass_fds=[ends.theirs.fileno()]):
        answer = ends.ask(("POST", "/v1/actions", (), body))

    assert answer == {"taken": True}


def test_question_that_nobody_takes_does_not_end_the_process(tmp_path: Path) -> None:
    # As in the command, where SIGPIPE has its default action.
    program = """if True:
        import signal
        from pathlib import Path
        from sys import argv
        from tests.supervisor.client.test_conversation import LOOK, Ends
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        ends = Ends(Path(argv[1]))
        ends.theirs.close()
        ends.ask(LOOK)
    """

    result = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "other.sock"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, "it is gone, or lets nobody in" in result.stderr) == (1, True)


def test_supervisor_that_says_nothing_and_goes_is_gone(ends: Ends) -> None:
    ends.theirs.close()

    with pytest.raises(NoSupervisorError, match="it is gone, or lets nobody in"):
        ends.ask(LOOK)


@pytest.mark.parametrize("verb", ["ask", "read_lines"])
def test_supervisor_that_goes_in_the_middle_is_gone(ends: Ends, verb: str) -> None:
    ends.theirs.sendall(make_answer({"jobs": []})[:-1])
    ends.theirs.close()

    with pytest.raises(NoSupervisorError, match="the supervisor is gone"):
        getattr(ends, verb)(LOOK)


def test_what_answers_otherwise_is_no_supervisor(ends: Ends) -> None:
    ends.theirs.sendall(b"hello\r\n\r\n")

    with pytest.raises(ProtocolError):
        ends.ask(LOOK)


def test_look_is_not_waited_for_forever(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mocker.supervisor.client.conversation._PATIENCE_S", 0.01)

    with pytest.raises(NoSupervisorError, match=r"has not answered for 0\.01 s"):
        ends.ask(LOOK)


def test_version_is_told_once_and_before_the_answer(ends: Ends) -> None:
    ends.theirs.sendall(make_lines({"job": "one"}, {"job": "two"}))

    run_blocking(ends.conversation.ask_for_lines(LOOK))
    before = list(ends.told)
    ends.receive()

    assert (before, ends.told) == (["0.1.0"], ["0.1.0"])
