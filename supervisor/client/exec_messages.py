"""What is told on the socket for who executes something in a job, from the side of who asks.

The other side is `control.exec_server`, which has the drawing. This is messages alone, as bytes:
who sends and receives them is somebody else's business.
"""

import json
import signal
from collections.abc import Mapping

from mocker.isolation import ContainerSpec, ExitStatus, IsolationError

from .address import NoSupervisorError
from .exchange import AnswerError, ProtocolError, parse_object

_NO_ANSWER = "cannot ask the supervisor: it is gone, or lets nobody in"
_CANNOT_BE_MADE = ExitStatus(code=IsolationError.exit_code)

Failure = AnswerError | NoSupervisorError | ProtocolError


class Course:
    """What becomes of a process in a job, or of a job that somebody is attached to.

    Attributes:
        started: Whether it has begun.
        version: Of the supervisor; empty until it has answered, and if it does not say.
        status: How it has ended; None if it has not.
        failure: Why it has not begun, or is not followed any more; None if it has ended by itself.
    """

    __slots__ = ("_gone", "_stopped", "failure", "started", "status", "version")

    def __init__(self, gone: str) -> None:
        """Begin.

        Args:
            gone: What is said when the supervisor goes after it has begun.
        """
        self.started = False
        self.version = ""
        self.status: ExitStatus | None = None
        self.failure: Failure | None = None
        self._gone, self._stopped = gone, 0

    def feed(self, message: bytes) -> None:
        """Take a message; nothing at the end of the connection."""
        if not message:
            self._fail(NoSupervisorError(self._gone if self.started else _NO_ANSWER))
            return
        text = message.decode("utf-8", "surrogateescape")
        try:
            news = parse_object(text)
        except ProtocolError as error:
            self._fail(error)
            return
        self.version = str(news.get("version") or self.version)
        match news:
            case {"started": int()}:
                self.started = True
            case {"stopped": int(number)}:
                self._stopped = number
            case {"exited": int(code)}:
                self.status = ExitStatus(code=code)
            case {"killed": int(number)}:
                self.status = ExitStatus(signal=number)
            case {"error": {"message": str()}}:
                self._fail(AnswerError(0, text))
            case _:
                pass  # of a later version

    def take_stop(self) -> int:
        """Return the signal that stopped it since this was last asked.

        0 for none, and if it has ended since.
        """
        stopped, self._stopped = self._stopped, 0
        return 0 if self.status else stopped

    def _fail(self, failure: Failure) -> None:
        self.failure = failure
        exit_code = failure.exit_code if isinstance(failure, AnswerError) else None
        if exit_code is not None:
            self.status = ExitStatus(code=exit_code)
        elif self.started and isinstance(failure, NoSupervisorError):
            self.status = ExitStatus(signal=signal.SIGKILL)
        else:
            self.status = _CANNOT_BE_MADE


def render_exec(job: str, spec: ContainerSpec) -> bytes:
    """Return the message that asks for a process.

    Args:
        job: Where.
        spec: Of which the command, the environment, the user, the directory and whether there is a
            terminal count.
    """
    return _render(
        {
            "job": job,
            "argv": spec.argv,
            "env": spec.env,
            "user": spec.user,
            "workdir": spec.workdir,
            "terminal": spec.terminal,
        }
    )


def render_attach(job: str) -> bytes:
    """Return the message that asks for the terminal of a job."""
    return _render({"attach": job})


def render_signal(number: int) -> bytes:
    """Return the message that asks to send a signal to a process."""
    return _render({"signal": int(number)})


def render_size(rows: int, columns: int) -> bytes:
    """Return the message that tells the size of the window that a job's terminal is shown in."""
    return _render({"size": [rows, columns]})


def _render(values: Mapping[str, object]) -> bytes:
    """Return a message; texts that are no UTF-8 stay the bytes they were."""
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogateescape")
