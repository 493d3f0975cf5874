"""What the parent of a running container can ask of its init; `desk` answers.

      parent                                         init
        │  ─── control: SOCKET, reply ──────────────▶ │  opens it in the container's network
        │  ◀── reply: SOCKET + descriptor ─────────── │
        │  ─── control: EXEC, reply, 3 descriptors ─▶ │  clone, the command's namespaces, execve
        │  ◀── reply: STARTED pid ─────────────────── │  with the other side of a terminal's
        │  ◀── reply: stopped ─────────────────────── │
        │  ◀── reply: EXITED or a failure ─────────── │
        │  ─── control: SIGNAL pid number ──────────▶ │

Each request brings one end of a socket pair of its own, so that answers need no numbers, and end of
file says that the container is gone. The init learns of a request, and of a reply that nobody
waits for any more, by a signal from the kernel, which is told from one that somebody sent by its
origin. Neither waits for the other: an init that does not read is an error, and what was asked for
ends if the parent no longer listens.

So nothing ever joins a container from outside: what is executed in it is a child of its init, and
was never half inside.

Source: fcntl(2) O_ASYNC, setns(2), unix(7) SCM_RIGHTS.
"""

import _signal as signal
import _socket as socket
import os
from _collections_abc import Mapping, Sequence
from errno import EAGAIN, EMFILE, EMSGSIZE

from .checks import check_argv, check_env_name, check_text, check_user, check_workdir
from .errors import IsolationError, SetupError
from .exit_status import ExitStatus
from .handshake import (
    MAX_FAILURE,
    parse_failure,
    parse_status,
    parse_stopped,
    receive_with_fds,
    send_with_fds,
)

SOCKET = b"socket"
EXEC = b"exec"
EXEC_GROUP = b"exec group"
EXEC_TERMINAL = b"exec terminal"
NAMESPACES = b"namespaces"
SIGNAL = b"signal"
KILL = b"kill"  # everything, where the kernel does not do that as the init is killed
STARTED = b"started"
MAX_REQUEST = 2**17  # bytes; what a socket takes at once by default is a little more
MAX_FDS = 4
# A real-time signal, so each is kept: a SIGIO of the kernel's would swallow somebody's that is to
# be handed on. Where too many are pending, the kernel sends that instead.
NEWS = int(signal.SIGRTMAX)
_GONE = "the container is gone"


class Reply:
    """An answer of a container's init that is on its way; a context manager.

    Made by `Container.request_socket` and `Container.request_namespaces`; `receive_descriptors`
    takes what it brings.

    Raises:
        OSError: There is no descriptor left here.
        SetupError: The container is gone, does not listen, or can't take a request of that size.

    Source: unix(7) SCM_RIGHTS.
    """

    __slots__ = ("_socket",)

    def __init__(self, control: socket.socket, request: bytes, fds: Sequence[int] = ()) -> None:
        if len(request) > MAX_REQUEST:  # what is too long, the init would cut off
            hint = f"arguments and environment may have {MAX_REQUEST} bytes"
            raise SetupError("ask the container's init", EMSGSIZE, hint=hint)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            send_with_fds(control, request, [theirs.fileno(), *fds], socket.MSG_DONTWAIT)
        except OSError as error:
            self._socket.close()
            hint = "" if error.errno == EAGAIN else _GONE  # it may be stopped, and read nothing
            raise SetupError("ask the container's init", error.errno or 0, hint=hint) from error
        finally:
            theirs.close()

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when there is something to take."""
        return self._socket.fileno()

    def take(self) -> tuple[bytes, list[int]]:
        """Wait for a message and its descriptors; nothing if the container is gone."""
        return receive_with_fds(self._socket, MAX_FAILURE, MAX_FDS)

    def refuse(self) -> tuple[bytes, list[int]]:
        """Let nothing more arrive, and return the message that is already there, if there is."""
        self._socket.shutdown(socket.SHUT_RD)
        return receive_with_fds(self._socket, MAX_FAILURE, MAX_FDS, socket.MSG_DONTWAIT)

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()

    def __enter__(self) -> "Reply":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Process:
    """A process that was started in a running container; a context manager, which kills it.

    Attributes:
        pid: As the container sees it; 0 until the init has told. On a terminal it is that of the
            process that leads the session, whose child executes.
        terminal_fd: The other side of its terminal once there is a pid; -1 without one. Closed
            with the rest, unless somebody takes it and sets -1.

    Raises:
        SetupError, CommandError: By `poll` and `wait`: it could not be started.

    Source: clone(2), setns(2).
    """

    __slots__ = ("_control", "_error", "_reply", "_status", "_stopped", "pid", "terminal_fd")

    def __init__(self, control: socket.socket, reply: Reply) -> None:
        self._control, self._reply = control, reply
        self._status: ExitStatus | None = None
        self._error: IsolationError | None = None
        self._stopped = 0
        self.pid = 0
        self.terminal_fd = -1

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when `poll` may have news."""
        return self._reply.fileno()

    def poll(self) -> ExitStatus | None:
        """Take one message, for which this waits, and return how the process ended, if it has.

        Raises:
            SetupError, CommandError: It could not be started.
        """
        if self._status is None and self._error is None:
            self._understand(*self._reply.take())
        if self._error is not None:
            raise self._error
        return self._status

    def take_stop(self) -> int:
        """Return the signal that has stopped it since this was last asked, 0 for none.

        What is known of that is what `poll` has taken.
        """
        stopped, self._stopped = self._stopped, 0
        return stopped

    def wait(self) -> ExitStatus:
        """Wait until it has ended, and return how.

        Raises:
            SetupError, CommandError: It could not be started.
        """
        while (status := self.poll()) is None:
            pass
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended, or was not started yet.

        SIGINT, SIGQUIT, SIGTSTP and SIGCONT go to its process group, as a terminal sends them, and
        SIGKILL goes to all that it has in its process group.
        """
        if self.pid and self._status is None:
            request = b"%s\0%d\0%d" % (SIGNAL, self.pid, number)
            try:
                self._control.send(request, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
            except OSError:
                pass  # the container is gone, and the process with it

    def close(self) -> None:
        """Kill it if it is still there, or on its way, and let go of it."""
        if self._reply.fileno() < 0:
            return
        if not self.pid:
            # Either its number has arrived, or the init will find that nobody takes it.
            self._understand(*self._reply.refuse())
        self.send_signal(signal.SIGKILL)
        self._reply.close()
        if self.terminal_fd >= 0:
            os.close(self.terminal_fd)
            self.terminal_fd = -1

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _understand(self, message: bytes, fds: Sequence[int]) -> None:
        word, _, rest = message.partition(b"\0")
        if not message and not self.pid:
            self._error = SetupError("start the process", hint=_GONE)
        elif not message:
            self._status = ExitStatus(signal=signal.SIGKILL)  # with the whole container
        elif word == STARTED:
            self.pid = int(rest)
            self.terminal_fd = fds[0] if fds else -1
        elif stopped := parse_stopped(message):
            self._stopped = stopped
        else:
            self._status = parse_status(message)
            if self._status is None:
                self._error = parse_failure(message)


def send_kill(control: socket.socket) -> None:
    """Ask the init of a command without a container to kill all that it has below it."""
    try:
        control.send(KILL, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    except OSError:
        pass  # it is gone


def request_socket(control: socket.socket, family: int) -> Reply:
    """Ask for a stream socket of the container's network; see `receive_descriptors`."""
    return Reply(control, b"%s\0%d" % (SOCKET, family))


def request_namespaces(control: socket.socket) -> Reply:
    """Ask for the user and the network namespace; see `receive_descriptors`."""
    return Reply(control, NAMESPACES)


def receive_descriptors(reply: Reply) -> list[int]:
    """Wait for the descriptors that were asked for.

    Args:
        reply: What `Container.request_socket` or `request_namespaces` returned; once.

    Returns:
        The socket alone, or the user and the network namespace; close-on-exec, the caller's to
        close.

    Raises:
        SetupError: The kernel refused, or the container is gone.

    Source: unix(7) SCM_RIGHTS.
    """
    message, fds = reply.take()
    if fds:
        return fds
    if not message:
        raise SetupError("ask the container's init", hint=_GONE)
    if message in {SOCKET, NAMESPACES}:
        raise SetupError("receive a descriptor", EMFILE)  # the kernel drops what has no room here
    raise parse_failure(message)


def request_process(control: socket.socket, request: bytes, stdio: Sequence[int]) -> Process:
    """Ask for a process beside the command; see `render_process`."""
    return Process(control, Reply(control, request, stdio))


def render_process(
    verb: bytes,
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    user: str | None,
    workdir: str | None,
) -> bytes:
    """Return the request for a process; see `Container.start_process`.

    Raises:
        SpecError: A value that no container could carry out.
    """
    texts = [
        "" if user is None else check_user(user),
        "" if workdir is None else check_workdir(workdir),
        str(len(argv)),
        *check_argv(argv),
        *(f"{check_env_name(k)}={check_text(v, f'variable {k}')}" for k, v in env.items()),
    ]
    return b"\0".join([verb, *map(os.fsencode, texts)])
