"""Write to a descriptor whose other end may be slow, without waiting for it in the event loop.

stdout and stderr can be a full pipe, a stopped terminal or a slow disk, and must not be made
non-blocking: that is a property of the open file, which others have as well. So os.write runs in a
worker thread, one call for all that has gathered meanwhile. There are two ways in: jobs wait while
too much has gathered, and the supervisor itself, which never waits, loses what does not fit.
"""

import os
import select

import structlog
import trio

from .threads import run_in_thread

log = structlog.get_logger("mocker.output")

_NO_THREAD_S = 0.1  # before the next try to get one
_MOST_BEFORE_WAITING = 2**18  # bytes; twice this is on its way at most, and a chunk for each job
_MOST_BEFORE_DROPPING = 2**23  # bytes; more than jobs bring in at once, or they would push it out


class Output:
    """What is written to one descriptor, in order and each piece whole.

    Attributes:
        fd: The descriptor, the caller's.
        error: Why the latest write came to nothing; None if it went well.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.error: OSError | None = None
        self._gathered: list[bytes] = []
        self._size = 0  # bytes in it
        self._writing = False
        self._dropped = 0  # lines that nobody has been told about
        self._arrival = trio.Event()
        self._progress = trio.Event()
        self._turn = trio.Lock()  # first come, first served

    def put(self, data: bytes) -> None:
        """Write whole lines as soon as possible, or drop them: if the other end does not keep up.

        The number of dropped lines is logged once there is room again.
        """
        if self._gathered and self._size + len(data) > _MOST_BEFORE_DROPPING:
            self._dropped += data.count(b"\n")
        else:
            self._gather(data)

    async def write(self, data: bytes) -> None:
        """Write bytes, after waiting until the other end keeps up."""
        async with self._turn:
            while self._size > _MOST_BEFORE_WAITING:
                await self._progress.wait()
            self._gather(data)

    async def drain(self, patience: float) -> bool:
        """Wait until everything is written, and return whether it is.

        Args:
            patience: Seconds to wait at most.
        """
        with trio.move_on_after(patience):
            await trio.lowlevel.checkpoint()
            while self._gathered or self._writing:
                await self._progress.wait()
        return not self._gathered and not self._writing

    async def run(self) -> None:
        """Write what comes, until cancelled; a write that is stuck then is left behind.

        What the descriptor refuses, because nobody reads it any more or the disk is full, is lost;
        what comes later is tried anew.
        """
        limiter = trio.CapacityLimiter(1)  # not the common one, which others may have exhausted
        while True:
            await self._arrival.wait()
            self._arrival = trio.Event()
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._size = 0
            self._writing = True
            try:
                left, self.error = await run_in_thread(_write_all, self.fd, data, limiter=limiter)
            except BlockingIOError:
                # There is no thread to be had: too many processes. This is no time to lose lines.
                self._gathered.insert(0, data)
                self._size += len(data)
                await trio.sleep(_NO_THREAD_S)
                self._arrival.set()
                continue
            self._writing = False
            self._dropped += left.count(b"\n")
            if self._dropped and self.error is None:
                dropped, self._dropped = self._dropped, 0
                log.warning("output.dropped", lines=dropped)
            self._progress.set()
            self._progress = trio.Event()

    def _gather(self, data: bytes) -> None:
        self._gathered.append(data)
        self._size += len(data)
        self._arrival.set()


def _write_all(fd: int, data: bytes) -> tuple[bytes, OSError | None]:
    """Write until all is written or refused; return what is not written, and why."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # somebody made it non-blocking
            _wait_writable(fd)
        except OSError as error:
            return bytes(rest), error
    return b"", None


def _wait_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
