"""One process that somebody has executed in a job, from its start to its end.

Who asked holds the other end of a connection, and with it the process: when that is gone, the
process is killed. What the process reads and prints does not come by here.
"""

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from struct import Struct

import structlog
import trio

from mocker.isolation import Container, ExitStatus, IsolationError, Process

from ..threads import run_in_thread
from .exec_requests import ExecRequest, parse_signal, render_message, render_problem, render_start
from .problems import RequestError

log = structlog.get_logger("mocker.control")

_MOST_LATER = 2**12  # bytes of what is asked once it runs
_MOST_EARLY = 100  # signals
_FD = Struct("i")
_CLOSING = trio.CapacityLimiter(float("inf"))  # each has its connection, and those are bounded


async def execute(
    connected: trio.socket.SocketType,
    container: Container,
    request: ExecRequest,
    stdio: list[int],
) -> None:
    """Start a process, and tell what becomes of it, until it has ended or nobody listens.

    Args:
        connected: To who asked.
        container: Of the job.
        request: What to execute.
        stdio: Three descriptors for it, which are taken out of the list and closed.

    Raises:
        IsolationError: It could not be started.
        OSError: Nobody listens any more.
    """
    with _start(container, request, stdio) as process:
        # Only so do who reads what it prints, and who writes what it reads, see its end.
        await close_callers(stdio)
        ending: ExitStatus | IsolationError | None = None
        async with trio.open_nursery() as nursery:
            early = list[int]()
            nursery.start_soon(_follow_client, connected, process, early, nursery.cancel_scope)
            ending = await _follow_process(connected, process, early, request)
            nursery.cancel_scope.cancel()
    if isinstance(ending, IsolationError):
        raise ending
    if ending is None:
        return  # nobody is there any more
    told = {"exited": ending.code} if ending.signal is None else {"killed": ending.signal}
    with suppress(OSError):  # nobody is there any more
        await connected.send(render_message(told))


async def close_callers(fds: list[int]) -> None:
    """Close descriptors of a caller's, in a thread: it may be a file whose file system hangs."""
    taken = fds[:]
    fds.clear()
    if not taken:
        return
    try:
        await run_in_thread(_close_all, taken, limiter=_CLOSING)
    except BlockingIOError:
        _close_all(taken)  # there is no thread to be had


def tell_at_once(connected: trio.socket.SocketType, message: bytes) -> None:
    """Send a message without waiting for whoever takes nothing, to whom it is lost."""
    with suppress(OSError):
        os.write(connected.fileno(), message)


def _close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        with suppress(OSError):  # such as what a network did not take; the process is told as well
            os.close(fd)


def _start(container: Container, request: ExecRequest, stdio: Sequence[int]) -> Process:
    start = container.start_on_terminal if request.terminal else container.start_process
    return start(
        request.argv, env=request.env, user=request.user, workdir=request.workdir, stdio=stdio
    )


async def _follow_client(
    connected: trio.socket.SocketType,
    process: Process,
    early: list[int],
    scope: trio.CancelScope,
) -> None:
    """Hand on the signals that are asked for, until nobody is there who could.

    Those that are asked for before the process is started go into a list.
    """
    message = b""
    while True:
        with suppress(OSError):
            message = await connected.recv(_MOST_LATER)
        if not message:
            scope.cancel()
            return
        try:
            number = parse_signal(message)
        except RequestError as error:
            with suppress(OSError):
                await connected.send(render_problem(error, IsolationError.exit_code))
            scope.cancel()
            return
        if process.pid:
            process.send_signal(number)
        elif len(early) < _MOST_EARLY:
            early.append(number)
        message = b""


async def _follow_process(
    connected: trio.socket.SocketType, process: Process, early: list[int], request: ExecRequest
) -> ExitStatus | IsolationError:
    """Tell what becomes of a process; return how it has ended, or why it was not started."""
    told = False
    while True:
        await trio.lowlevel.wait_readable(process)
        try:
            status = process.poll()
        except IsolationError as error:
            return error
        if process.pid and not told:
            told = True
            log.info("exec.started", job=request.job, command=request.argv[0])
            await _tell_started(connected, process)
            for number in early:
                process.send_signal(number)
        if status is not None:
            return status
        if stopped := process.take_stop():
            tell_at_once(connected, render_message({"stopped": stopped}))


async def _tell_started(connected: trio.socket.SocketType, process: Process) -> None:
    """Hand over the other side of the terminal, which then nobody has here.

    Who is gone is seen by `_follow_client`.
    """
    terminal, process.terminal_fd = process.terminal_fd, -1
    message = render_start(process.pid)
    if terminal < 0:
        with suppress(OSError):
            await connected.send(message)
        return
    try:
        ancillary = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _FD.pack(terminal))
        with suppress(OSError):
            await connected.sendmsg([message], [ancillary])
    finally:
        os.close(terminal)
