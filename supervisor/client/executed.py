"""What somebody executes in a job, or a job at whose terminal they are, from their side.

The other side is `control.exec_server`, and `exec_messages` has what is told. Here it looks like a
container that `mocker run` has made, so that the same code stays in the foreground for both; what
waits by signals for that is in `signalled`.

Source: unix(7) SCM_RIGHTS.
"""

import os
import signal
import socket
from collections.abc import Sequence
from errno import EMSGSIZE

from mocker.isolation import ContainerSpec, ExitStatus, SpecError
from mocker.isolation.handshake import receive_with_fds, send_with_fds

from .connections import Connections
from .exec_messages import Course, Failure, render_signal

_MOST = 2**17  # bytes of a message


class Executed:
    """It, on a connection of its own, whose end is its end.

    Attributes:
        spec: What was asked for, of which not all counts, see `render_exec`.
        terminal_fd: The other side of its terminal; -1 without one, and once `take_terminal` has
            given it away.
    """

    __slots__ = (
        "_connection",
        "_connections",
        "_course",
        "_has_terminal",
        "_request",
        "spec",
        "terminal_fd",
    )

    def __init__(
        self, connections: Connections, request: bytes, spec: ContainerSpec, gone: str
    ) -> None:
        """Make it; nothing is asked yet.

        Args:
            connections: Of the client.
            request: What to ask.
            spec: What that means.
            gone: What is said when the supervisor is.
        """
        self.spec = spec
        self.terminal_fd = -1
        self._has_terminal = False
        self._connections, self._request = connections, request
        self._connection: socket.socket | None = None
        self._course = Course(gone)

    @property
    def control_fd(self) -> int:
        """A descriptor that becomes readable when `take_stop` may have something to say."""
        return self._connected.fileno()

    @property
    def is_started(self) -> bool:
        """Whether it has been, as far as is known."""
        return self._course.started

    @property
    def version(self) -> str:
        """Of the supervisor; empty until it has answered, and if it does not say."""
        return self._course.version

    @property
    def failure(self) -> Failure | None:
        """Why it is not there, or not any more; None if it has ended by itself, or has not."""
        return self._course.failure

    async def connect(self) -> None:
        """Connect to the supervisor.

        Raises:
            NoSupervisorError: Nobody answers.
        """
        self._connection = await self._connections.open(socket.SOCK_SEQPACKET)

    def ask(self, fds: Sequence[int] = ()) -> None:
        """Ask for it; `wait_started` or `poll` tells what came of that.

        Args:
            fds: Descriptors for it.

        Raises:
            SpecError: There is too much of it.
        """
        try:
            send_with_fds(self._connected, self._request, fds)
        except OSError as error:
            if error.errno == EMSGSIZE:
                text = "arguments and environment are too long; they may have 128 KiB"
                raise SpecError(text) from None
            # It may have been refused unread; if not, the end of the connection says the rest.

    async def wait_started(self) -> None:
        """Wait until it is started.

        Raises:
            AnswerError, NoSupervisorError, ProtocolError: It never will be.
        """
        while self.poll() is None and not self.is_started:
            await self._connections.wait_readable(self._connected)
        if not self.is_started:
            self._check()

    async def wait(self) -> ExitStatus:
        """Wait until it has ended, and return how.

        Raises:
            AnswerError, NoSupervisorError, ProtocolError: That is not known, for nobody tells it.
        """
        while (status := self.poll()) is None:
            await self._connections.wait_readable(self._connected)
        self._check()
        return status

    def poll(self) -> ExitStatus | None:
        """Return how it ended, None if it has not; with a `failure`, what a shell would say."""
        while self._course.status is None and self._receive():
            pass
        return self._course.status

    def take_stop(self) -> int:
        """Return the signal that stopped it since this was last asked.

        0 for none, and if it has ended since.
        """
        self.poll()
        return self._course.take_stop()

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if number == signal.SIGTSTP and not self._has_terminal:
            number = signal.SIGSTOP  # without a terminal, the kernel lets nobody stop by the other
        self._tell(render_signal(number))

    def kill(self) -> None:
        """Kill it, with what is in its process group."""
        self.send_signal(signal.SIGKILL)

    def leave(self, status: ExitStatus) -> None:
        """Take this for its end, if there was none; the supervisor sees that nobody listens."""
        self._course.status = self._course.status or status
        try:
            self._connected.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the supervisor is gone

    def take_terminal(self) -> int:
        """Return the other side of its terminal, for who closes it."""
        taken, self.terminal_fd = self.terminal_fd, -1
        return taken

    def close_terminal(self) -> None:
        """Let its terminal hang up, unless somebody else has the other side."""
        self._has_terminal = False
        if self.terminal_fd >= 0:
            os.close(self.take_terminal())

    def close(self) -> None:
        """Let go of it."""
        if self._connection is not None:
            self._connections.close(self._connection)
        self.close_terminal()

    @property
    def _connected(self) -> socket.socket:
        if self._connection is None:
            raise RuntimeError("what is executed is used in an 'async with' block")
        return self._connection

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _tell(self, message: bytes) -> None:
        try:
            self._connected.send(message, socket.MSG_NOSIGNAL)
        except OSError:
            pass  # the supervisor is gone, or listens to nothing; it is told of no end either

    def _receive(self) -> bool:
        """Take one message; return False if there is none yet."""
        connection = self._connected
        if connection.fileno() < 0:
            return False  # it was closed with its client
        try:
            message, fds = receive_with_fds(connection, _MOST, 1)
            if not message:
                # What was left unread at the other end is said once, before what was told there.
                message, fds = receive_with_fds(connection, _MOST, 1)
        except BlockingIOError:
            return False
        if fds:
            (self.terminal_fd,) = fds
            self._has_terminal = True
        self._course.feed(message)
        return True
