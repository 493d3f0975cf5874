"""Where a container's init takes what its parent asks for, see `requests`.

A process beside the command is a fork of the init, which joins the command's own namespaces, goes
through the same steps as the command did, and executes.

Source: setns(2), fcntl(2) O_ASYNC, unix(7) SCM_RIGHTS.
"""

import _signal as signal
import _socket as socket
import os

from .calls import join_session_keyring
from .command import change_directory, execute, make_env, place_stdio
from .errors import IsolationError, SetupError
from .exit_status import ExitStatus
from .handshake import receive_with_fds, render_failure, render_status, send_with_fds
from .memory import Cell
from .plan import Plan
from .privileges import drop_capabilities, own_pipes, reset_signals, set_rlimits
from .requests import (
    EXEC_GROUP,
    KILL,
    MAX_FDS,
    MAX_REQUEST,
    NAMESPACES,
    SIGNAL,
    SOCKET,
    STARTED,
)
from .syscalls import clone3, setns
from .tape import perform
from .users import become, look_up_user

_FAILED = 125
_ENDED = "the command has ended"
_JOINED = ("user", "mnt", "uts")  # what the command has of its own; the rest is its init's


class Desk:
    """The requests of one container.

    Attributes:
        closing: Whether the command has ended, so that no process is started any more.
    """

    __slots__ = ("_command", "_control", "_groups", "_plan", "_replies", "closing")

    def __init__(self, plan: Plan, control: socket.socket, command: Cell) -> None:
        self._plan, self._control, self._command = plan, control, command
        self._replies: dict[int, socket.socket] = {}
        self._groups = set[int]()  # processes that are to leave nothing behind
        self.closing = False

    def serve(self) -> bool:
        """Carry out what has been asked so far; return whether the container is to go on."""
        while True:
            try:
                message, fds = receive_with_fds(
                    self._control, MAX_REQUEST, MAX_FDS, socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return True
            if not message or message == KILL:
                return False
            words = message.split(b"\0")
            if words[0] == SIGNAL:
                self._signal(int(words[1]), int(words[2]))
            elif fds:  # none arrive where the init has reached the limit on open files
                self._carry_out(words, fds)
            for fd in fds:
                os.close(fd)

    def tell_end(self, pid: int, status: ExitStatus) -> None:
        """Answer whoever asked for a process that it has ended."""
        if pid in self._groups:
            self._groups.remove(pid)
            _kill_group(pid)  # a number is given again only after all others
        reply = self._replies.pop(pid, None)
        if reply is not None:
            _answer(reply, render_status(status))
            reply.close()

    def _signal(self, pid: int, number: int) -> None:
        if pid not in self._replies:
            return
        try:  # it is not reaped yet, so the number is nobody else's
            if number == signal.SIGKILL:
                _kill(pid)
            else:
                os.kill(pid, number)
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
                pid = self._start(words[1:], fds[1:], reply)
                self._replies[pid] = reply
                if words[0] == EXEC_GROUP:
                    self._groups.add(pid)
                if not _answer(reply, b"%s\0%d" % (STARTED, pid)):
                    _kill(pid)
        except SetupError as error:
            _answer(reply, render_failure(error))
            reply.close()
        except OSError as error:
            _answer(reply, render_failure(SetupError("answer the request", error.errno or 0)))
            reply.close()

    def _start(self, words: list[bytes], stdio: list[int], reply: socket.socket) -> int:
        if self.closing:
            raise SetupError("start the process", hint=_ENDED)
        namespaces = list[int]()
        try:
            if self._plan.mapping is not None:
                self._open_commands_namespaces(namespaces)
            pid, pidfd = clone3(0, signal.SIGCHLD)
            if pid == 0:
                _become_process(self._plan, words, stdio, reply, namespaces)
            os.close(pidfd)
        finally:
            for fd in namespaces:
                os.close(fd)
        return pid

    def _open_commands_namespaces(self, fds: list[int]) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC
        for name in _JOINED:
            try:
                fds.append(os.open(f"/proc/{self._command.value}/ns/{name}", flags))
            except FileNotFoundError as error:  # it is a zombie
                raise SetupError("start the process", hint=_ENDED) from error


def _become_process(
    plan: Plan,
    words: list[bytes],
    stdio: list[int],
    reply: socket.socket,
    namespaces: list[int],
) -> None:
    """Turn a fork of the init into what was asked for; does not return."""
    try:
        name, workdir, count, *texts = map(os.fsdecode, words)
        argv, variables = texts[: int(count)], texts[int(count) :]
        user = look_up_user(name or plan.spec.user, plan.home_uid)
        env = make_env(plan.spec, user) | dict(v.split("=", 1) for v in variables)
        for fd in namespaces:
            setns(fd)
        os.setsid()
        perform(place_stdio(stdio))
        if user.uid:
            own_pipes((0, 1, 2), user.uid, user.gid)
        if plan.mapping is None and plan.spec.isolate:
            drop_capabilities()
        if plan.spec.isolate or name or plan.spec.user is not None:
            perform(become(user, plan.mapping))
        perform(join_session_keyring())
        change_directory(workdir or plan.workdir, needed=bool(workdir))
        set_rlimits(plan.rlimits)
        perform(reset_signals(plan.changed_signals))
        execute(tuple(argv), env)
    except IsolationError as error:
        _answer(reply, render_failure(error))
    except OSError as error:
        _answer(reply, render_failure(SetupError("start the process", error.errno or 0)))
    except BaseException as error:  # noqa: BLE001 - the process ends right after it
        _answer(reply, render_failure(SetupError(f"start the process after {error!r}")))
    finally:
        os._exit(_FAILED)


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
    except ProcessLookupError:
        pass  # nothing is left


def _answer(reply: socket.socket, message: bytes) -> bool:
    """Send an answer, and return whether somebody listens."""
    try:
        reply.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True
