"""Write to a descriptor that is somebody else's, such as stdout, however long that takes.

It can be a full pipe, a stopped terminal or a slow disk, and must not be made non-blocking: that is
a property of the open file, which others have as well. So whoever writes to it waits, in a thread.

A pipe takes as much as it has room for, and the rest later. Where stdout and stderr are the same
one, as with `2>&1`, what is said on one must not get in the middle of a line on the other: so they
take turns, a few lines each.
"""

import os
import select
from collections import defaultdict
from errno import EBADF, EIO, EPIPE
from threading import Lock

# Whoever was there to take it is gone, and nobody else can come: a pipe without a reader, a closed
# terminal.
FINAL = frozenset({EPIPE, EIO, EBADF})
# These are not opened by name: a regular file would get a second position, so that two writers
# overwrite each other, and a socket or the terminal of another user cannot be opened at all.
INHERITED = {
    "/dev/stdout": 1,
    "/dev/stderr": 2,
    "/dev/fd/1": 1,
    "/dev/fd/2": 2,
    "/proc/self/fd/1": 1,
    "/proc/self/fd/2": 2,
}

_PORTION = 2**16  # bytes of one turn: what a pipe holds


class _Turn:
    """Whose turn it is to write; who waits is next, also after one who comes again at once."""

    def __init__(self) -> None:
        self._next, self._present = Lock(), Lock()

    def __enter__(self) -> None:
        with self._next:
            self._present.acquire()

    def __exit__(self, *_: object) -> None:
        self._present.release()


_turns: defaultdict[tuple[int, int], _Turn] = defaultdict(_Turn)  # by device and inode


class Console:
    """A target that is open already; see `sinks.Target`."""

    may_hang = True

    def __init__(self, fd: int) -> None:
        self.fd = fd
        try:
            status = os.fstat(fd)
            self._turn = _turns[status.st_dev, status.st_ino]
        except OSError:  # it is closed
            self._turn = _Turn()

    def write(self, pieces: list[bytes]) -> tuple[list[bytes], OSError | None]:
        """Write until all is written or refused; return what is not written, and why."""
        data = b"".join(pieces)
        start = 0
        while start < len(data):
            end = data.rfind(b"\n", start, start + _PORTION) + 1 or len(data)
            with self._turn:
                start, error = self._write_portion(data, start, end)
            if error is not None:
                return [data[start:]], error
        return [], None

    def reopen(self) -> None:
        """Do nothing: the file is the caller's."""

    def close(self) -> None:
        """Do nothing: the file is the caller's."""

    def _write_portion(self, data: bytes, start: int, end: int) -> tuple[int, OSError | None]:
        """Write a part of the data; return where what is not written begins, and why."""
        with memoryview(data) as view:
            while start < end:
                try:
                    start += os.write(self.fd, view[start:end])
                except BlockingIOError:  # somebody made it non-blocking
                    _wait_writable(self.fd)
                except OSError as error:
                    return start, error
        return start, None


def _wait_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
