"""What the parent of a running container can ask of its init, and how it is answered.

      parent                                        init
        │  ─── control: SOCKET, reply ─────────────▶ │  opens it in the container's network
        │  ◀── reply: SOCKET + descriptor ────────── │
        │  ─── control: EXEC, reply, 3 descriptors ─▶ │  clone, the command's namespaces, execve
        │  ◀── reply: STARTED pid ────────────────── │
        │  ◀── reply: EXITED or a failure ────────── │
        │  ─── control: SIGNAL pid number ─────────▶ │

Each request brings one end of a socket pair of its own, so that answers need no numbers, and end of
file says that the container is gone. The init learns of a request by SIGIO from the kernel, which
is told from one that somebody sent by its origin. Neither waits for the other: an init that does
not read is an error, and what was asked for ends if the parent no longer listens.

So nothing ever joins a container from outside: what is executed in it is a child of its init, and
was never half inside.

Source: fcntl(2) O_ASYNC, setns(2), unix(7) SCM_RIGHTS.
"""

import _signal as signal
import _socket as socket
import os
from _collections_abc import Mapping, Sequence
from errno import EAGAIN, EMFILE, EMSGSIZE

from .calls import join_session_keyring, perform
from .command import change_directory, execute, place_stdio
from .errors import IsolationError, SetupError
from .exit_status import ExitStatus
from .handshake import (
    MAX_FAILURE,
    parse_failure,
    parse_status,
    receive_with_fds,
    render_failure,
    render_status,
    send_with_fds,
)
from .plan import Plan
from .privileges import drop_capabilities, own_pipes, reset_signals, set_rlimits
from .program import make_env
from .syscalls import clone3, setns
from .users import become, look_up_user

_SOCKET = b"socket"
_EXEC = b"exec"
_EXEC_GROUP = b"exec group"
_NAMESPACES = b"namespaces"
_SIGNAL = b"signal"
_KILL = b"kill"  # everything, where the kernel does not do that as the init is killed
_STARTED = b"started"
_MAX_REQUEST = 2**17  # bytes; what a socket takes at once by default is a little more
_MAX_FDS = 4
_FAILED = 125
_GONE = "the container is gone"
_ENDED = "the command has ended"
_JOINED = ("user", "mnt", "uts")  # what the command has of its own; the rest is its init's


class Reply:
    """An answer of a container's init that is on its way; a context manager.

    Raises:
        OSError: There is no descriptor left here.
        SetupError: The container is gone, does not listen, or can't take a request of that size.
    """

    __slots__ = ("_socket",)

    def __init__(self, control: socket.socket, request: bytes, fds: Sequence[int] = ()) -> None:
        if len(request) > _MAX_REQUEST:  # what is too long, the init would cut off
            hint = f"arguments and environment may have {_MAX_REQUEST} bytes"
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
        return receive_with_fds(self._socket, MAX_FAILURE, _MAX_FDS)

    def refuse(self) -> bytes:
        """Let nothing more arrive, and return the message that is already there, if there is."""
        self._socket.shutdown(socket.SHUT_RD)
        return receive_with_fds(self._socket, MAX_FAILURE, _MAX_FDS, socket.MSG_DONTWAIT)[0]

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
        pid: As the container sees it; 0 until the init has told.

    Source: clone(2), setns(2).
    """

    __slots__ = ("_control", "_error", "_reply", "_status", "pid")

    def __init__(self, control: socket.socket, reply: Reply) -> None:
        self._control, self._reply = control, reply
        self._status: ExitStatus | None = None
        self._error: IsolationError | None = None
        self.pid = 0

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when `poll` may have news."""
        return self._reply.fileno()

    def poll(self) -> ExitStatus | None:
        """Take one message, for which this waits, and return how the process ended, if it has.

        Raises:
            SetupError, CommandError: It could not be started.
        """
        if self._status is None and self._error is None:
            self._understand(self._reply.take()[0])
        if self._error is not None:
            raise self._error
        return self._status

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

        SIGKILL goes to all that it has in its process group.
        """
        if self.pid and self._status is None:
            request = b"%s\0%d\0%d" % (_SIGNAL, self.pid, number)
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
            self._understand(self._reply.refuse())
        self.send_signal(signal.SIGKILL)
        self._reply.close()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _understand(self, message: bytes) -> None:
        word, _, rest = message.partition(b"\0")
        if not message and not self.pid:
            self._error = SetupError("start the process", hint=_GONE)
        elif not message:
            self._status = ExitStatus(signal=signal.SIGKILL)  # with the whole container
        elif word == _STARTED:
            self.pid = int(rest)
        else:
            self._status = parse_status(message)
            if self._status is None:
                self._error = parse_failure(message)


def send_kill(control: socket.socket) -> None:
    """Ask the init of a command without a container to kill all that it has below it."""
    try:
        control.send(_KILL, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
    except OSError:
        pass  # it is gone


def request_socket(control: socket.socket, family: int) -> Reply:
    """Ask for a stream socket of the container's network; see `receive_descriptors`."""
    return Reply(control, b"%s\0%d" % (_SOCKET, family))


def request_namespaces(control: socket.socket) -> Reply:
    """Ask for the user and the network namespace; see `receive_descriptors`."""
    return Reply(control, _NAMESPACES)


def receive_descriptors(reply: Reply) -> list[int]:
    """Return the descriptors that were asked for.

    Args:
        reply: What `Container.request_socket` or `request_namespaces` returned.

    Raises:
        SetupError: The kernel refused, or the container is gone.
    """
    message, fds = reply.take()
    if fds:
        return fds
    if not message:
        raise SetupError("ask the container's init", hint=_GONE)
    if message in {_SOCKET, _NAMESPACES}:
        raise SetupError("receive a descriptor", EMFILE)  # the kernel drops what has no room here
    raise parse_failure(message)


def request_process(control: socket.socket, request: bytes, stdio: Sequence[int]) -> Process:
    """Ask for a process beside the command; see `render_process`."""
    return Process(control, Reply(control, request, stdio))


def render_process(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    user: str,
    workdir: str,
    kill_group: bool,
) -> bytes:
    """Return the request for a process; see `Container.start_process`."""
    variables = [f"{name}={value}" for name, value in env.items()]
    texts = [user, workdir, str(len(argv)), *argv, *variables]
    verb = _EXEC_GROUP if kill_group else _EXEC
    return b"\0".join([verb, *map(os.fsencode, texts)])


class Desk:
    """Where the init takes requests: its side of all of the above.

    Attributes:
        closing: Whether the command has ended, so that no process is started any more.
    """

    __slots__ = ("_command", "_control", "_groups", "_plan", "_replies", "closing")

    def __init__(self, plan: Plan, control: socket.socket, command: int) -> None:
        self._plan, self._control, self._command = plan, control, command
        self._replies: dict[int, socket.socket] = {}
        self._groups = set[int]()  # processes that are to leave nothing behind
        self.closing = False

    def serve(self) -> bool:
        """Carry out what has been asked so far; return whether the container is to go on."""
        while True:
            try:
                message, fds = receive_with_fds(
                    self._control, _MAX_REQUEST, _MAX_FDS, socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return True
            if not message or message == _KILL:
                return False
            words = message.split(b"\0")
            if words[0] == _SIGNAL:
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
            if words[0] in {_SOCKET, _NAMESPACES}:
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
                if words[0] == _EXEC_GROUP:
                    self._groups.add(pid)
                if not _answer(reply, b"%s\0%d" % (_STARTED, pid)):
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
                fds.append(os.open(f"/proc/{self._command}/ns/{name}", flags))
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
        execute((), tuple(argv), env)
    except IsolationError as error:
        _answer(reply, render_failure(error))
    except OSError as error:
        _answer(reply, render_failure(SetupError("start the process", error.errno or 0)))
    except BaseException as error:  # noqa: BLE001
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
