"""Ask a job by a command of its own, executed beside it: whether that ends with 0."""

import os

import trio

from mocker.isolation import Container, ExitStatus, IsolationError, Process, SetupError

_CHUNK = 2**16  # bytes; a pipe holds no more, so what is there is read at once
_MAX_LINE = 200  # bytes of its output that are shown


async def ask_exec(container: Container, argv: tuple[str, ...]) -> str:
    """Return how a command ended if not with 0, or why it could not be executed.

    What it prints last is part of that. It is killed, with what it has started in its process
    group, if this is cancelled; what it leaves behind in that group is killed in any case.

    Raises:
        OSError: There is no descriptor left here.
        SetupError: The container can't be asked, or has no room for one more process.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        process = _start(container, argv, write_end)
        output = _Output(read_end)
        with process:
            ending = await _wait_ended(process, output)
        output.take()
    finally:
        os.close(read_end)
    if isinstance(ending, SetupError):
        raise ending
    if isinstance(ending, ExitStatus) and ending.success:
        return ""
    shown = output.find_last_line()
    return f"{ending}: {shown}" if shown else str(ending)


class _Output:
    """The read end of a pipe that a command prints to, and the last of what came out of it."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._last = b""

    def fileno(self) -> int:
        return self._fd

    def take(self) -> bool:
        """Read what is there; return whether there can be more."""
        try:
            chunk = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return True
        # More than a line that is shown: the very last one may be empty.
        self._last = (self._last + chunk)[-2 * _MAX_LINE :]
        return bool(chunk)

    def find_last_line(self) -> str:
        """Return the last line in which there is something, or its end."""
        lines = self._last.decode(errors="replace").split("\n")
        return next((line.strip()[-_MAX_LINE:] for line in reversed(lines) if line.strip()), "")


def _start(container: Container, argv: tuple[str, ...], output: int) -> Process:
    """Start a command that reads nothing, and close the write end of its output."""
    null = -1
    try:
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        return container.start_process(argv, stdio=(null, output, output), kill_group=True)
    finally:
        os.close(output)
        if null >= 0:
            os.close(null)


async def _wait_ended(process: Process, output: _Output) -> ExitStatus | IsolationError:
    """Return how a process ended, or why it was not started; take what it prints meanwhile."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_take_all, output)
        ending: ExitStatus | IsolationError | None = None
        while ending is None:
            await trio.lowlevel.wait_readable(process)
            try:
                ending = process.poll()
            except IsolationError as error:
                ending = error
        nursery.cancel_scope.cancel()
    return ending


async def _take_all(output: _Output) -> None:
    while True:
        await trio.lowlevel.wait_readable(output)
        if not output.take():
            return
