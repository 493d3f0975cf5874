"""The socket for who executes something in a job, beside the one for HTTP.

HTTP carries no descriptors, and a process in a job is to have the caller's own, so that nothing
has to be relayed. This socket keeps messages apart (SOCK_SEQPACKET); each is a JSON object.

      who asks                                   supervisor
        │  ─── job, argv, … + 3 descriptors ──────▶ │
        │  ◀── started PID (+ its terminal) ─────── │
        │  ─── signal N ──────────────────────────▶ │
        │  ◀── stopped N ────────────────────────── │
        │  ◀── exited CODE, or killed N ─────────── │
        │  ◀── or error, exit_code ──────────────── │

A connection is one process, which is killed when the connection ends; or one terminal, at which
somebody is until then:

        │  ─── attach JOB ────────────────────────▶ │
        │  ◀── started PID + a stream of bytes ──── │
        │  ─── size ROWS COLUMNS ─────────────────▶ │
        │  ◀── exited, killed or error, as above ── │

What begins an answer, started or error, has the version of the supervisor: a client of another one
can tell it then.

Source: unix(7) SCM_RIGHTS, SO_PEERCRED.
"""

import os
import socket
from contextlib import closing, suppress
from struct import Struct

import attrs
import structlog
import trio

from mocker.isolation import Container, IsolationError
from mocker.isolation.errors import render_reason

from ..control_socket import name_exec_socket
from ..jobs import Job
from ..supervise import Supervisor
from .attachment import attach
from .exec_requests import parse_attach, parse_request, render_problem
from .execution import close_callers, execute, tell_at_once
from .guard import Guard
from .job_names import find_jobs
from .listening import open_listener
from .peers import Peer, find_peer
from .problems import CROWDED, RequestError, make_too_slow

log = structlog.get_logger("mocker.control")

_MOST = 256  # connections
_MOST_REQUEST = 2**18  # bytes; more than the kernel takes as one message, and than an init does
_SILENCE_S = 10.0  # until a request is there
_BREATH_S = 0.1  # before the next try, where the kernel has no descriptor left
_FULL = RequestError("too-many", 503, f"{_MOST} processes are executed already")
_STDIO = 3
_FD = Struct("i")


class ExecServer:
    """What listens for those who execute something."""

    def __init__(
        self,
        directory: str,
        name: str,
        supervisor: Supervisor,
        guard: Guard,
        inherited: socket.socket | None = None,
    ) -> None:
        """Make it; nobody can connect yet.

        Args:
            directory: Where its socket is to be.
            name: Of the supervisor, who holds it.
            supervisor: Whose jobs are meant.
            guard: Who decides about those who ask.
            inherited: A Unix socket that listens already, in place of its own.
        """
        self._path = os.path.join(directory, name_exec_socket(name))
        self._supervisor, self._guard = supervisor, guard
        self._inherited = inherited
        self._places = dict[trio.socket.SocketType, bool]()  # whether it has asked; oldest first

    async def run(self) -> None:
        """Execute what is asked for until cancelled; without a socket, that is said."""
        listener = self._try_to_listen()
        if listener is None:
            return
        with closing(listener):
            try:
                async with trio.open_nursery() as nursery:
                    await self._accept(listener, nursery)
            finally:
                if self._inherited is None:
                    with suppress(OSError):
                        os.unlink(self._path)

    def _try_to_listen(self) -> trio.socket.SocketType | None:
        if self._inherited is not None:
            return trio.socket.from_stdlib_socket(self._inherited)
        try:
            return open_listener(self._path, socket.SOCK_SEQPACKET)
        except OSError as error:
            reason = f"cannot listen at {self._path}{render_reason(error.errno or 0)}"
        log.error("control.unavailable", reason=reason)
        return None

    async def _accept(self, listener: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        while True:
            try:
                connected, _ = await listener.accept()
                peer = find_peer(connected)
            except OSError:
                await trio.sleep(_BREATH_S)
                continue
            if self._make_place():
                self._places[connected] = False
                nursery.start_soon(self._attend, connected, peer)
            else:
                _refuse(connected, _FULL)

    def _make_place(self) -> bool:
        """Return whether there is a place; if not, the oldest that has not asked has to go."""
        if len(self._places) < _MOST:
            return True
        silent = next((other for other, asked in self._places.items() if not asked), None)
        if silent is None:
            return False
        del self._places[silent]
        _refuse(silent, CROWDED)
        return True

    async def _attend(self, connected: trio.socket.SocketType, peer: Peer) -> None:
        # Nobody listens any more, or it had to make place.
        with connected, suppress(OSError, trio.ClosedResourceError):
            try:
                await self._serve(connected, peer)
            except RequestError as error:
                await connected.send(render_problem(error, IsolationError.exit_code))
            except IsolationError as error:
                cause = RequestError("cannot-execute", 409, str(error))
                await connected.send(render_problem(cause, error.exit_code))
            except (OSError, trio.ClosedResourceError):
                raise
            except Exception:
                # Whatever it is about this connection, it is no reason to end anything else.
                log.exception("control.failed")
            finally:
                self._places.pop(connected, None)

    async def _serve(self, connected: trio.socket.SocketType, peer: Peer) -> None:
        """Execute what is asked for on a connection.

        Raises:
            RequestError, IsolationError: It is not executed.
            OSError: Nobody listens any more.
        """
        try:
            self._guard.check_owner(peer, "exec or attach")
        except RequestError as error:
            self._guard.tell(peer, error)
            raise
        stdio, message = list[int](), b""
        try:
            with trio.move_on_after(_SILENCE_S) as wait:
                message = await _receive(connected, stdio)
            if wait.cancelled_caught:
                raise make_too_slow("a request", _SILENCE_S)
            if not message or connected not in self._places:
                return  # or it had to make room while its request was read, and was told so
            self._places[connected] = True
            if (name := parse_attach(message)) is not None:
                await attach(connected, self._find_job(name))
                return
            request = parse_request(message)
            if len(stdio) != _STDIO:
                raise RequestError("bad-request", 400, f"{_STDIO} descriptors are needed")
            name, container = self._find_container(request.job)
            await execute(connected, container, attrs.evolve(request, job=name), stdio)
        finally:
            await close_callers(stdio)

    def _find_container(self, name: str) -> tuple[str, Container]:
        """Return which job is meant, and its container.

        Raises:
            RequestError: There is none.
        """
        job = self._find_job(name)
        name = job.config.name
        container = self._supervisor.running.get(name)
        if container is None:
            state = job.life.state.value
            text = f"cannot execute anything in {name}: it does not run, it is {state}"
            raise RequestError("not-running", 409, text, [name])
        if job.is_paused:
            text = (
                f"cannot execute anything in {name}: it is paused; 'mocker resume {name}' ends that"
            )
            raise RequestError("paused", 409, text, [name])
        return name, container

    def _find_job(self, name: str) -> Job:
        """Return which job is meant.

        Raises:
            RequestError: None, or several.
        """
        jobs = find_jobs(self._supervisor.jobs, [name])
        if len(jobs) != 1:
            names = [job.config.name for job in jobs]
            text = f"{name!r} is more than one job: {', '.join(names)}; name one of them"
            raise RequestError("too-many-jobs", 409, text, names)
        return jobs[0]


def _refuse(connected: trio.socket.SocketType, error: RequestError) -> None:
    """Answer with an error and close, whether or not there is room for the answer."""
    # Not by `with connected`, which would not tell who waits for what comes by it.
    with closing(connected), suppress(OSError):
        tell_at_once(connected, render_problem(error, IsolationError.exit_code))
        # What was asked already: left there, it would be told as a reset, before the answer.
        os.read(connected.fileno(), 1)


async def _receive(connected: trio.socket.SocketType, fds: list[int]) -> bytes:
    """Return a message, nothing at the end, and add the descriptors that came with it.

    Raises:
        RequestError: It is too big.
    """
    room = socket.CMSG_LEN(_STDIO * _FD.size)
    message, parts, flags, _ = await connected.recvmsg(_MOST_REQUEST, room, socket.MSG_CMSG_CLOEXEC)
    fds += [fd for _, _, data in parts for (fd,) in _FD.iter_unpack(data)]
    if flags & socket.MSG_TRUNC:
        raise RequestError("too-big", 413, f"a request may have {_MOST_REQUEST} bytes")
    return message
