"""Write to a descriptor that is somebody else's, such as stdout, however long that takes.

It can be a full pipe, a stopped terminal or a slow disk, and must not be made non-blocking: that is
a property of the open file, which others have as well. So whoever writes to it waits, in a thread.

A pipe takes as much as it has room for, and the rest later. Where stdout and stderr are the same
one, as with `2>&1`, what is said on one must not get in the middle of a line on the other: so they
take turns.
"""

import os
import select
from collections import defaultdict
from errno import EBADF, EIO, EPIPE
from threading import Lock

# Whoever was there to take it is gone, and nobody else can come: a pipe without a reader, a closed
# terminal.
FINAL = frozenset({EPIPE, EIO, EBADF})

_turns: defaultdict[tuple[int, int], Lock] = defaultdict(Lock)  # by the device and inode of a file


class Console:
    """A target that is open already; see `sinks.Target`."""

    may_hang = True

    def __init__(self, fd: int) -> None:
        self.fd = fd
        try:
            stat = os.fstat(fd)
            self._turn = _turns[stat.st_dev, stat.st_ino]
        except OSError:  # it is closed
            self._turn = Lock()

    def write(self, pieces: list[bytes]) -> tuple[list[bytes], OSError | None]:
        """Write until all is written or refused; return what is not written, and why."""
        rest = memoryview(b"".join(pieces))
        with self._turn:
            while rest:
                try:
                    rest = rest[os.write(self.fd, rest) :]
                except BlockingIOError:  # somebody made it non-blocking
                    _wait_writable(self.fd)
                except OSError as error:
                    return [bytes(rest)], error
        return [], None

    def reopen(self) -> None:
        """Do nothing: the file is the caller's."""

    def close(self) -> None:
        """Do nothing: the file is the caller's."""


def _wait_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
