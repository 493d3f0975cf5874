"""The caller's terminal while it is that of a job, for `mocker attach`."""

import os
from contextlib import suppress

from ..terminal import Terminal
from .attached_job import AttachedJob
from .detach_keys import DetachKeys


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
