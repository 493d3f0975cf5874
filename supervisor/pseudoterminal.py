"""The terminal of a job: what is printed there goes to its log and to all who are attached.

There is one reader, so that nothing is shown to one and missed by another. Who is attached gets the
bytes as they are; the log gets lines that end as those of other jobs do.

Source: pty(7), termios(3).
"""

import os
import re
import socket
import termios
from contextlib import suppress

import structlog
import trio

from .lines import count_newlines

log = structlog.get_logger("mocker.jobs")

_CHUNK = 2**16  # bytes; more than the kernel hands out at once
STALL_S = 1.0  # in which a viewer must take what was read at once, some kilobytes at most
_MOST_LEFT = 2**20  # bytes that are counted at the end, as the job may go on
_NEWLINE = re.compile(rb"\r+\n")  # the terminal adds a \r, and many programs have added one before


class Viewer:
    """Somebody who is attached.

    Attributes:
        end: Of their connection; what is printed is sent there.
        over: Set once no more will be.
        stalled: Whether that is because they took nothing any more.
    """

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.over = trio.Event()
        self.stalled = False


class Pseudoterminal:
    """The supervisor's side of a job's terminal."""

    def __init__(self, master: int, log: int, job: str) -> None:
        """Take a terminal over.

        Args:
            master: Its other side; `run` closes it.
            log: The write end of a pipe, for what is printed; `run` closes it.
            job: Whose it is.
        """
        os.set_blocking(master, False)
        os.set_blocking(log, False)
        self._master, self._log, self._job = master, log, job
        self._is_over = False
        self._viewers = list[Viewer]()
        self._typing = trio.Lock()  # only one may wait for room
        self._unwritten = b""  # for the log's pipe
        self._held = b""  # the beginning of what may become the end of a line

    async def run(self) -> None:
        """Carry what is printed until nobody is left who could print."""
        try:
            while data := await self._read():
                for viewer in tuple(self._viewers):
                    await self._show(viewer, data)
                await self._write_log(data)
            await self._write(self._held)
        except trio.Cancelled:
            self._tell_lost()
            raise
        finally:
            self._is_over = True
            self.drop_viewers()
            trio.lowlevel.notify_closing(self._master)
            os.close(self._master)
            os.close(self._log)

    def attach(self, end: socket.socket) -> Viewer:
        """Show to somebody what is printed from now on.

        Args:
            end: Of a connection that does not block; the caller closes it after `detach`.
        """
        viewer = Viewer(end)
        if self._is_over:
            viewer.over.set()
        else:
            self._viewers.append(viewer)
        return viewer

    def detach(self, viewer: Viewer) -> None:
        """Show somebody nothing any more; nobody waits for their connection then."""
        self._drop(viewer)
        trio.lowlevel.notify_closing(viewer.end)

    def drop_viewers(self) -> None:
        """Show nothing more to anybody who is attached now."""
        for viewer in tuple(self._viewers):
            self._drop(viewer)

    async def type(self, data: bytes) -> None:
        """Type something, as soon as the terminal takes it; nothing happens if it is gone."""
        async with self._typing:
            while data and not self._is_over:
                try:
                    data = data[os.write(self._master, data) :]
                except BlockingIOError:
                    with suppress(trio.ClosedResourceError):
                        await trio.lowlevel.wait_writable(self._master)
                except OSError:
                    return

    def resize(self, rows: int, columns: int, *, redraw: bool = False) -> None:
        """Have a size; if it is another one, the job is told by SIGWINCH.

        Nothing happens if the terminal is gone.

        Args:
            rows: 1 to 65535, as the other.
            columns: Characters in each.
            redraw: Whether the job is told in any case, as most draw the whole screen then.
        """
        if self._is_over:
            return
        with suppress(OSError, termios.error):
            if redraw and termios.tcgetwinsize(self._master) == (rows, columns):
                termios.tcsetwinsize(self._master, (max(1, rows - 1), columns))
            termios.tcsetwinsize(self._master, (rows, columns))

    async def _read(self) -> bytes:
        """Return what is printed next; nothing at the end."""
        while True:
            await trio.lowlevel.wait_readable(self._master)
            try:
                return os.read(self._master, _CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                return b""  # nobody has the other side any more

    async def _show(self, viewer: Viewer, data: bytes) -> None:
        """Send something to somebody, and leave them behind if they do not take it."""
        with trio.move_on_after(STALL_S) as patience:
            while data:
                try:
                    data = data[viewer.end.send(data, socket.MSG_NOSIGNAL) :]
                except BlockingIOError:
                    with suppress(trio.ClosedResourceError):
                        await trio.lowlevel.wait_writable(viewer.end)
                    if viewer.over.is_set():
                        return  # they have left
                except OSError:
                    break  # they are gone
        if data:
            viewer.stalled = patience.cancelled_caught
            self._drop(viewer)

    def _drop(self, viewer: Viewer) -> None:
        if viewer in self._viewers:
            self._viewers.remove(viewer)
        viewer.over.set()

    async def _write_log(self, data: bytes) -> None:
        text = _NEWLINE.sub(b"\n", self._held + data)
        whole = text.rstrip(b"\r")
        self._held = text[len(whole) :]
        await self._write(whole)

    async def _write(self, data: bytes) -> None:
        """Write to the log's pipe, as soon as there is room."""
        self._unwritten = data
        while self._unwritten:
            try:
                self._unwritten = self._unwritten[os.write(self._log, self._unwritten) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._log)
            except OSError:
                return  # nobody reads it any more, though something that escaped goes on

    def _tell_lost(self) -> None:
        """Tell how many lines nobody will get, if there are any: a terminal holds some itself."""
        left = self._unwritten + self._held
        with suppress(OSError):  # also if there is nothing more
            while len(left) < _MOST_LEFT and (data := os.read(self._master, _CHUNK)):
                left += data
        lines = count_newlines(left) + (left[-1:] not in (b"", b"\n"))
        if lines:
            log.warning("job.output_lost", job=self._job, channel="output", lines=lines)
