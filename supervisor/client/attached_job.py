"""A job at whose terminal somebody is, from their side.

The other side is `control.attachment`. For the caller's terminal it is as if it were a process that
is executed in the job, but whoever leaves it leaves it alone: no signal goes there.
"""

import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress

from mocker.isolation import ContainerSpec, ExitStatus

from ..terminal import Terminal
from .detach_keys import DetachKeys
from .executed import Executed, render
from .run import FAILED, NO_SUCH_JOB

_NO_COMMAND = "attach"  # that is asked for; it is there for the form
_LEAVING = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}


class AttachedJob(Executed):
    """The job; a context manager, at the end of which nobody is attached."""

    gone = "the supervisor is gone"
    gone_status = ExitStatus(code=FAILED)

    def __init__(self, connection: socket.socket, job: str) -> None:
        """Ask for it; `wait_started` tells what came of that.

        Args:
            connection: To the supervisor; closed with this.
            job: Which.
        """
        super().__init__(connection, job, ContainerSpec([_NO_COMMAND], terminal=True), ())

    def send_signal(self, number: int) -> None:
        """Leave the job, if the signal asks its receiver to end."""
        if number in _LEAVING:
            self.leave(ExitStatus(signal=number))

    def kill(self) -> None:
        """Leave the job."""
        self.leave(ExitStatus(signal=signal.SIGKILL))

    def leave(self, status: ExitStatus) -> None:
        """Take this for the end, if there was none."""
        self._status = self._status or status
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the supervisor is gone

    def resize(self, rows: int, columns: int) -> None:
        """Let the job's terminal have a size."""
        try:
            self._connection.send(render({"size": [rows, columns]}))
        except OSError:
            pass  # the supervisor is gone, or takes nothing; the size is no reason to wait

    def _render_request(self, job: str) -> bytes:
        return render({"attach": job})

    def _make_status(self, news: Mapping[str, object]) -> ExitStatus:
        match news:
            case {"error": {"code": "no-such-job"}}:
                return ExitStatus(code=NO_SUCH_JOB)
            case _:
                return ExitStatus(code=FAILED)


class AttachedTerminal(Terminal):
    """The caller's terminal, at which keys are pressed that leave the job alone.

    Attributes:
        hung_up: Whether nobody is there any more who could press any.
    """

    def __init__(self, job: AttachedJob, keys: DetachKeys) -> None:
        super().__init__()
        self.hung_up = False
        self._job, self._keys = job, keys

    def read(self, most: int) -> bytes:
        """Return what is typed for the job; nothing once the keys are pressed."""
        try:
            typed = super().read(most)
        except BlockingIOError:
            raise
        except OSError:
            typed = b""
        self.hung_up = not typed
        passed = self._keys.feed(typed)
        if self._keys.pressed:
            with suppress(OSError):
                os.write(self._job.terminal_fd, passed)
            return b""
        if typed and not passed:
            raise BlockingIOError  # they may be the first of those keys
        return passed

    def copy_size(self, target: int) -> None:  # noqa: ARG002 - it is that of the job, far away
        """Give the job's terminal the size of this one."""
        try:
            size = os.get_terminal_size(self.fd)
        except OSError:
            return  # hung up
        if size.lines and size.columns:
            self._job.resize(size.lines, size.columns)
