"""Somebody at the terminal of a job, from the side of the supervisor, see `exec_server`.

They get one end of a connection that carries bytes in both directions: what is printed, and what is
typed. It ends with the run, or with whoever has the other end; the job goes on then.
"""

import socket
from contextlib import suppress
from struct import Struct

import structlog
import trio

from mocker.isolation import ExitStatus, IsolationError

from ..jobs import Job
from ..pseudoterminal import STALL_S, Pseudoterminal, Viewer
from .exec_requests import parse_size, render_message, render_problem, render_start
from .problems import RequestError

log = structlog.get_logger("mocker.control")

_MOST_TYPED = 2**12  # bytes at once; what a terminal holds
_MOST_LATER = 2**12  # bytes of a message
_LAST_KEYS_S = 1.0  # for what was typed before somebody left
_FD = Struct("i")


async def attach(connected: trio.socket.SocketType, job: Job) -> None:
    """Attach who asks to a job, and tell how its run ends, unless they leave before that.

    Args:
        connected: To them.
        job: What they are to see.

    Raises:
        RequestError: It has no terminal, or does not run; or they took nothing any more.
        OSError: They are gone.
    """
    name, terminal = job.config.name, job.terminal
    if not job.config.tty:
        text = f"cannot attach to {name}: it has no terminal; set tty = true"
        raise RequestError("no-terminal", 409, text, [name])
    if terminal is None:
        text = f"cannot attach to {name}: it does not run, it is {job.life.state.value}"
        raise RequestError("not-running", 409, text, [name])
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        with theirs:
            ancillary = (socket.SOL_SOCKET, socket.SCM_RIGHTS, _FD.pack(theirs.fileno()))
            await connected.sendmsg([render_start(job.pid or 0)], [ancillary])
        log.info("attach.started", job=name)
        viewer = terminal.attach(ours)
        try:
            status = await _accompany(connected, job, terminal, viewer)
        finally:
            terminal.detach(viewer)
            log.info("attach.ended", job=name)
    if viewer.stalled:
        text = f"detached from {name}, which goes on: nothing was taken for {STALL_S:g} s"
        raise RequestError("stalled", 409, text, [name])
    if status is not None:
        told = {"exited": status.code} if status.signal is None else {"killed": status.signal}
        await connected.send(render_message(told))


async def _accompany(
    connected: trio.socket.SocketType, job: Job, terminal: Pseudoterminal, viewer: Viewer
) -> ExitStatus | None:
    """Carry what is typed; return how the run ended, None if they left or were left behind."""
    status: ExitStatus | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_follow_client, connected, terminal, nursery.cancel_scope)
        nursery.start_soon(_carry_keys, terminal, viewer, nursery.cancel_scope)
        await viewer.over.wait()
        with suppress(OSError):
            viewer.end.shutdown(socket.SHUT_RDWR)
        while not viewer.stalled and job.terminal is terminal:
            await job.wait_changed()
        status = None if viewer.stalled else job.status
        nursery.cancel_scope.cancel()
    return status


async def _carry_keys(terminal: Pseudoterminal, viewer: Viewer, scope: trio.CancelScope) -> None:
    """Type what comes, until they leave."""
    data = b""
    while True:
        await trio.lowlevel.wait_readable(viewer.end)
        with suppress(OSError):
            data = viewer.end.recv(_MOST_TYPED)
        if not data:
            break
        await terminal.type(data)
        data = b""
    if not viewer.over.is_set():
        scope.cancel()


async def _follow_client(
    connected: trio.socket.SocketType, terminal: Pseudoterminal, scope: trio.CancelScope
) -> None:
    """Follow the size of their window, until they leave."""
    message, is_new = b"", True
    while True:
        with suppress(OSError):
            message = await connected.recv(_MOST_LATER)
        if not message:
            # What they have typed before is still carried, if the job takes it.
            scope.deadline = trio.current_time() + _LAST_KEYS_S
            return
        try:
            terminal.resize(*parse_size(message), redraw=is_new)
        except RequestError as error:
            with suppress(OSError):
                await connected.send(render_problem(error, IsolationError.exit_code))
            scope.cancel()
            return
        message, is_new = b"", False
