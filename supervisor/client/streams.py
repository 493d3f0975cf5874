"""What a program reads and writes of a process in a job: pipes, and terminals."""

import os
from contextlib import suppress

import trio


def open_pipe(*, is_input: bool) -> tuple[trio.lowlevel.FdStream, int]:
    """Return one end of a new pipe as a stream, and the other for a process.

    Args:
        is_input: Whether the process is to read.
    """
    read_end, write_end = os.pipe()
    ours, theirs = (write_end, read_end) if is_input else (read_end, write_end)
    return trio.lowlevel.FdStream(ours), theirs


class TerminalStream(trio.abc.Stream):
    """Where a terminal is far away: what is typed there is sent, what is printed is received.

    Source: pty(7), ioctl_tty(2).
    """

    def __init__(self, fd: int) -> None:
        """Take a descriptor, which this closes."""
        self._stream = trio.lowlevel.FdStream(fd)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what is printed next; nothing once nobody is left who could print."""
        with suppress(trio.BrokenResourceError):  # that is how a terminal without a user ends
            return bytes(await self._stream.receive_some(max_bytes))
        return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Type something."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there may be room for more."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Let it hang up."""
        await self._stream.aclose()

    def close(self) -> None:
        """Let it hang up, without a checkpoint."""
        self._stream.close()

    def fileno(self) -> int:
        """Return its descriptor; -1 once it is closed."""
        return self._stream.fileno()
