"""Write what the supervisor itself says to its stderr, without ever waiting for that.

The write is a worker thread's, one call for all that has gathered meanwhile; see `sink_console` for
why. What does not fit, because nobody takes it, is dropped and counted.
"""

import structlog
import trio

from .sink_console import Console
from .threads import run_in_thread

log = structlog.get_logger("mocker.output")

_GATHER_S = 0.01  # while many things happen at once; a thread for each would take the time of them
_NO_THREAD_S = 0.1  # before the next try to get one
_MOST = 2**23  # bytes; the events of 10,000 jobs that start at once


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

    def put(self, data: bytes) -> None:
        """Write whole lines as soon as possible, or drop them: if the other end does not keep up.

        The number of dropped lines is logged once there is room again.
        """
        if self._gathered and self._size + len(data) > _MOST:
            self._dropped += data.count(b"\n")
        else:
            self._gathered.append(data)
            self._size += len(data)
            self._arrival.set()

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
        console = Console(self.fd)
        limiter = trio.CapacityLimiter(1)  # not the common one, which others may have exhausted
        while True:
            await self._arrival.wait()
            self._arrival = trio.Event()
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._size = 0
            self._writing = True
            try:
                left, self.error = await run_in_thread(console.write, [data], limiter=limiter)
            except BlockingIOError:
                # There is no thread to be had: too many processes. This is no time to lose lines.
                self._gathered.insert(0, data)
                self._size += len(data)
                await trio.sleep(_NO_THREAD_S)
                self._arrival.set()
                continue
            self._writing = False
            self._dropped += b"".join(left).count(b"\n")
            if self._dropped and self.error is None:
                dropped, self._dropped = self._dropped, 0
                log.warning("output.dropped", lines=dropped)
            self._progress.set()
            self._progress = trio.Event()
            if self._gathered:
                await trio.sleep(_GATHER_S)
