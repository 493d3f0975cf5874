"""A process that is executed in a job, from the side of who asked for it.

The other side is `control.exec_server`, which has the messages. Here it looks like a container that
`mocker run` has made, so that the same code stays in the foreground for both.

Source: unix(7) SCM_RIGHTS, fcntl(2) F_SETSIG.
"""

import fcntl
import json
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from errno import EMSGSIZE

from mocker.isolation import ContainerSpec, ExitStatus, IsolationError, SpecError
from mocker.isolation.handshake import receive_with_fds, send_with_fds

from ..foreground import ENDING_SIGNALS

_CANNOT_BE_MADE = IsolationError.exit_code
_MOST = 2**17  # bytes of a message
_NO_ANSWER = "cannot ask the supervisor: it is gone, or lets nobody in"


class Executed:
    """The process; a context manager, at the end of which it is gone.

    Attributes:
        gone: What is said when the supervisor is gone.
        gone_status: How it has ended then.
        spec: What was asked for.
        terminal_fd: The other side of its terminal; -1 without one.
        version: Of the supervisor; empty until it has answered, and if it does not say.
        problem: Why it is not executed, or not any more; empty if it has ended by itself.
        asked_to_end: Whether a signal that does so came before it was told to be started.
    """

    gone = "the supervisor is gone, and what was executed with it"
    gone_status = ExitStatus(signal=signal.SIGKILL)

    def __init__(
        self, connection: socket.socket, job: str, spec: ContainerSpec, stdio: Sequence[int]
    ) -> None:
        """Ask for it; `wait_started` tells what came of that.

        Args:
            connection: To the supervisor; closed with this.
            job: Where to execute it.
            spec: Of which the command, the environment, the user, the directory and whether there
                is a terminal count.
            stdio: Three descriptors for it.

        Raises:
            SpecError: There is too much of it.
        """
        self.spec = spec
        self.terminal_fd = -1
        self.version = self.problem = ""
        self._connection = connection
        self._status: ExitStatus | None = None
        self._stopped = 0
        self._started = self.asked_to_end = False
        try:
            connection.setblocking(False)
            self._announce()
            self._ask(job, stdio)
        except BaseException:
            self.close()
            raise

    @property
    def control_fd(self) -> int:
        """A descriptor that becomes readable when `take_stop` may have something to say."""
        return self._connection.fileno()

    def wait_started(self, signals: set[int]) -> bool:
        """Wait until it is started; return False if it never will be, or has ended already.

        Args:
            signals: Those to hand on, of which the second that asks it to end gives it up. They
                are blocked, and SIGCHLD is too.
        """
        ending = 0
        while self.poll() is None and not self._started:
            number = signal.sigwaitinfo(signals | {signal.SIGCHLD}).si_signo
            ending += number in ENDING_SIGNALS
            self.asked_to_end = ending > 0
            if ending > 1:
                self._give_up(number)
            elif number != signal.SIGCHLD:
                self.send_signal(number)  # there it waits for the start
        return self._status is None

    def poll(self) -> ExitStatus | None:
        """Return how it ended, None if it has not."""
        self._take_news()
        return self._status

    def take_stop(self) -> int:
        """Return the signal that stopped it since this was last asked.

        0 for none, and if it has ended since.
        """
        self._take_news()
        stopped, self._stopped = self._stopped, 0
        return 0 if self._status else stopped

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if number == signal.SIGTSTP and self.terminal_fd < 0:
            number = signal.SIGSTOP  # without a terminal, the kernel lets nobody stop by the other
        try:
            self._connection.send(render({"signal": int(number)}))
        except OSError:
            pass  # the supervisor is gone, or listens to nothing; it is told of no end either

    def kill(self) -> None:
        """Kill it, with what is in its process group."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let go of it: it is killed if it is still there."""
        self._connection.close()
        if self.terminal_fd >= 0:
            os.close(self.terminal_fd)
            self.terminal_fd = -1

    def __enter__(self) -> "Executed":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _announce(self) -> None:
        """Let the kernel tell of news by SIGCHLD, as it does of children."""
        fd = self._connection.fileno()
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGCHLD)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)

    def _give_up(self, number: int) -> None:
        """Be what a signal has ended; whoever makes it finds that nobody listens."""
        self._connection.close()
        self._status = ExitStatus(signal=number)

    def _ask(self, job: str, stdio: Sequence[int]) -> None:
        try:
            send_with_fds(self._connection, self._render_request(job), stdio)
        except OSError as error:
            if error.errno == EMSGSIZE:
                text = "arguments and environment are too long; they may have 128 KiB"
                raise SpecError(text) from None
            # It may have been refused unread; if not, the end of the connection says the rest.

    def _render_request(self, job: str) -> bytes:
        spec = self.spec
        return render(
            {
                "job": job,
                "argv": spec.argv,
                "env": spec.env,
                "user": spec.user,
                "workdir": spec.workdir,
                "terminal": spec.terminal,
            }
        )

    def _make_status(self, news: Mapping[str, object]) -> ExitStatus:
        """Return the exit status for a problem that the supervisor tells, or for no answer."""
        status = news.get("exit_code")
        return ExitStatus(code=status if isinstance(status, int) else _CANNOT_BE_MADE)

    def _take_news(self) -> None:
        while self._status is None and self._receive():
            pass

    def _receive(self) -> bool:
        """Take one message; return False if there is none yet."""
        try:
            message, fds = receive_with_fds(self._connection, _MOST, 1)
            if not message:
                # What was left unread at the other end is said once, before what was told there.
                message, fds = receive_with_fds(self._connection, _MOST, 1)
        except BlockingIOError:
            return False
        if fds:
            self.terminal_fd = fds[0]
        if message:
            self._understand(json.loads(message.decode("utf-8", "surrogateescape")))
        elif self._started:
            self.problem = self.gone
            self._status = self.gone_status
        else:
            self.problem = _NO_ANSWER
            self._status = self._make_status({})
        return True

    def _understand(self, news: Mapping[str, object]) -> None:
        self.version = str(news.get("version") or self.version)
        match news:
            case {"started": int()}:
                self._started = True
            case {"stopped": int(number)}:
                self._stopped = number
            case {"exited": int(code)}:
                self._status = ExitStatus(code=code)
            case {"killed": int(number)}:
                self._status = ExitStatus(signal=number)
            case {"error": {"message": str(text)}}:
                self.problem = text
                self._status = self._make_status(news)
            case _:
                pass  # of a later version


def render(values: Mapping[str, object]) -> bytes:
    """Return a message; texts that are no UTF-8 stay the bytes they were."""
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogateescape")
