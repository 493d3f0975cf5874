"""Where a container's init takes what its parent asks for, see `requests`.

A process beside the command is a fork of the init, see `beside`.

Source: setns(2), fcntl(2) O_ASYNC, unix(7) SCM_RIGHTS.
"""

import _signal as signal
import _socket as socket
import os

from .beside import answer, become_process
from .calls import request_signal
from .errors import SetupError
from .exit_status import ExitStatus
from .forwarding import forward
from .handshake import (
    receive_with_fds,
    render_failure,
    render_status,
    render_stopped,
    send_with_fds,
)
from .memory import Cell
from .plan import Plan
from .requests import (
    EXEC_GROUP,
    EXEC_TERMINAL,
    KILL,
    MAX_FDS,
    MAX_REQUEST,
    NAMESPACES,
    NEWS,
    SIGNAL,
    SOCKET,
    STARTED,
)
from .syscalls import clone3
from .tape import perform
from .terminal import open_another_terminal

_ENDED = "the command has ended"
_NONE = (-1, -1, -1)
_JOINED = ("user", "mnt", "uts")  # what the command has of its own; the rest is its init's


class Desk:
    """The requests of one container.

    Attributes:
        closing: Whether the command has ended, so that no process is started any more.
        killing: Whether all is to be killed at once, or nobody is left who could ask for that.
    """

    __slots__ = (
        "_command",
        "_control",
        "_groups",
        "_leaders",
        "_plan",
        "_replies",
        "closing",
        "killing",
    )

    def __init__(self, plan: Plan, control: socket.socket, command: Cell) -> None:
        self._plan, self._control, self._command = plan, control, command
        self._replies: dict[int, socket.socket] = {}
        self._groups = set[int]()  # processes that are to leave nothing behind
        self._leaders = set[int]()  # those of sessions on a terminal
        self.closing = self.killing = False

    def serve(self) -> bool:
        """Carry out what has been asked so far; return whether the container is to go on."""
        self._kill_abandoned()
        while True:
            try:
                message, fds = receive_with_fds(
                    self._control, MAX_REQUEST, MAX_FDS, socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return True
            if not message or message == KILL:
                self.killing = True
                return False
            words = message.split(b"\0")
            if words[0] == SIGNAL:
                self._signal(int(words[1]), int(words[2]))
            elif fds:  # none arrive where the init has reached the limit on open files
                self._carry_out(words, fds)
            for fd in fds:
                os.close(fd)

    def close(self) -> None:
        """Start nothing any more, and hang up the terminals: shells on one ignore SIGTERM."""
        self.closing = True
        for pid in self._leaders:
            os.kill(pid, signal.SIGHUP)

    def tell_stop(self, pid: int, number: int) -> None:
        """Tell whoever asked for a process that a signal has stopped it."""
        reply = self._replies.get(pid)
        if reply is not None:
            answer(reply, render_stopped(number))

    def tell_end(self, pid: int, status: ExitStatus) -> None:
        """Answer whoever asked for a process that it has ended."""
        self._leaders.discard(pid)
        if pid in self._groups:
            self._groups.remove(pid)
            _kill_group(pid)  # a number is given again only after all others
        reply = self._replies.pop(pid, None)
        if reply is not None:
            answer(reply, render_status(status))
            reply.close()

    def _kill_abandoned(self) -> None:
        """Kill what nobody holds any more; the control may have been too full to say so."""
        for pid, reply in self._replies.items():
            try:
                if reply.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass  # an answer was left unread
            self._signal(pid, signal.SIGKILL)

    def _signal(self, pid: int, number: int) -> None:
        if pid not in self._replies:
            return
        # It is not reaped yet, so the number is nobody else's.
        if number != signal.SIGKILL:
            forward(number, pid)
            return
        try:
            _kill(pid)
        except PermissionError:
            pass  # without a container it may have become somebody else

    def _carry_out(self, words: list[bytes], fds: list[int]) -> None:
        # Above the descriptors that a process is to have, as those came with it.
        reply = socket.socket(fileno=os.dup(fds[0]))
        try:
            if words[0] in {SOCKET, NAMESPACES}:
                opened = [_open_socket(int(words[1]))] if words[1:] else _open_namespaces()
                try:
                    send_with_fds(reply, words[0], opened)
                finally:
                    for fd in opened:
                        os.close(fd)
                reply.close()
            else:
                self._begin(words, fds[1:], reply)
        except SetupError as error:
            answer(reply, render_failure(error))
            reply.close()
        except OSError as error:
            answer(reply, render_failure(SetupError("answer the request", error.errno or 0)))
            reply.close()

    def _begin(self, words: list[bytes], stdio: list[int], reply: socket.socket) -> None:
        """Start a process, and hand out its number, and the other side of its terminal."""
        if self.closing:
            raise SetupError("start the process", hint=_ENDED)
        master, slave, gate = opened = self._open_terminal() if words[0] == EXEC_TERMINAL else _NONE
        try:
            pid = self._start(words[1:], stdio, reply, slave, gate)
            self._replies[pid] = reply
            perform(request_signal(reply.fileno(), NEWS))
            if words[0] == EXEC_GROUP:
                self._groups.add(pid)
            if slave >= 0:
                self._leaders.add(pid)
            self._tell_start(reply, pid, master, gate)
        finally:
            for fd in opened:
                if fd >= 0:
                    os.close(fd)

    def _tell_start(self, reply: socket.socket, pid: int, master: int, gate: int) -> None:
        message, fds = b"%s\0%d" % (STARTED, pid), [] if master < 0 else [master]
        try:
            send_with_fds(reply, message, fds, socket.MSG_DONTWAIT)
        except OSError:
            _kill(pid)  # nobody listens
        else:
            if gate >= 0:
                os.eventfd_write(gate, 1)

    def _open_terminal(self) -> tuple[int, int, int]:
        """Return both sides of a terminal, and what its process waits at.

        It tells of its end itself, and nothing of that may come before the news of its start.
        """
        try:
            gate = os.eventfd(0, os.EFD_CLOEXEC)
            try:
                return *open_another_terminal(isolated=self._plan.spec.isolate), gate
            except OSError:
                os.close(gate)
                raise
        except OSError as error:
            raise SetupError("open a terminal", error.errno or 0) from error

    def _start(
        self, words: list[bytes], stdio: list[int], reply: socket.socket, terminal: int, gate: int
    ) -> int:
        namespaces = list[int]()
        try:
            if self._plan.mapping is not None:
                self._open_commands_namespaces(namespaces)
            pid, pidfd = clone3(0, signal.SIGCHLD)
            if pid == 0:
                if gate >= 0:
                    os.eventfd_read(gate)
                become_process(self._plan, words, stdio, reply, namespaces, terminal)
            os.close(pidfd)
        finally:
            for fd in namespaces:
                os.close(fd)
        return pid

    def _open_commands_namespaces(self, fds: list[int]) -> None:
        # Whoever may change the root directory might put a FIFO in the place of /proc.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        for name in _JOINED:
            try:
                fds.append(os.open(f"/proc/{self._command.value}/ns/{name}", flags))
            except FileNotFoundError as error:  # it is a zombie
                raise SetupError("start the process", hint=_ENDED) from error


def _open_namespaces() -> list[int]:
    flags = os.O_RDONLY | os.O_CLOEXEC
    return [os.open(f"/proc/self/ns/{name}", flags) for name in ("user", "net")]


def _open_socket(family: int) -> int:
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC).detach()


def _kill(pid: int) -> None:
    """Kill a process that was started and is not reaped, with all that is in its group."""
    _kill_group(pid)
    os.kill(pid, signal.SIGKILL)  # it may not lead a group yet


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nothing is left, or without a container what has become somebody else
