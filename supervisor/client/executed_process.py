"""A process that a program executes in a job."""

import os
from collections.abc import Sequence
from contextlib import ExitStack

from mocker.isolation import ContainerSpec

from .connections import Connections
from .exec_messages import render_exec
from .executed import Executed

TYPE_CHECKING = False  # for programs on trio alone
if TYPE_CHECKING:
    import trio

    from .streams import TerminalStream

_SIZE = 24, 80  # rows and columns, as the terminals of jobs have them
_STDIN = 0


class ExecutedProcess(Executed):
    """A process in a job, for the length of an `async with` block, at whose end it is killed.

        async with client.exec("web", ["cat"]) as process:
            await process.stdin.send_all(b"hello")
            await process.stdin.aclose()
            print(await process.stdout.receive_some())
            status = await process.wait()

    To enter the block is to start it, and raises AnswerError if there is no such job, or it does
    not run. That the command cannot be executed is known then or a moment later: then, too, `wait`
    raises AnswerError. Both have an `exit_code`.

    Attributes:
        stdin: What it reads is sent there; None if it reads from a descriptor of the caller's, or
            a terminal.
        stdout: What it prints comes from there; None as for stdin.
        stderr: See stdout.
        terminal: Its terminal, if it has one: what is typed is sent there, and what is printed
            comes from there, until nobody has that terminal open any more.
    """

    __slots__ = ("_other_side", "_stdio", "_streams", "stderr", "stdin", "stdout", "terminal")

    def __init__(
        self,
        connections: Connections,
        job: str,
        spec: ContainerSpec,
        stdio: Sequence[int | None],
    ) -> None:
        """Make it; nothing is asked yet.

        Args:
            connections: Of the client.
            job: Where to execute it.
            spec: See `render_exec`.
            stdio: Three descriptors for it; None for a stream, or the terminal.
        """
        gone = "the supervisor is gone, and what was executed with it"
        super().__init__(connections, render_exec(job, spec), spec, gone)
        self._stdio = stdio
        self._other_side = -1  # of what stands in for its terminal
        self._streams: list[trio.lowlevel.FdStream | TerminalStream] = []
        self.stdin: trio.abc.SendStream | None = None
        self.stdout: trio.abc.ReceiveStream | None = None
        self.stderr: trio.abc.ReceiveStream | None = None
        self.terminal: TerminalStream | None = None

    async def __aenter__(self) -> "ExecutedProcess":
        """Start it."""
        try:
            with ExitStack() as lent:
                fds = self._open_stdio(lent)
                await self.connect()
                self.ask(fds)
                await self.wait_started()
            if self.terminal_fd >= 0:
                from .streams import TerminalStream

                self.terminal = TerminalStream(self.take_terminal())
                self._streams.append(self.terminal)
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kill it if it is still there, and close its streams."""
        self.close()

    def resize(self, rows: int, columns: int) -> None:
        """Let its terminal have another size; the first one is 24 rows of 80 columns.

        Nothing happens once it is closed.
        """
        import termios

        if self.terminal is None:
            raise RuntimeError("it has no terminal")
        if (fd := self.terminal.fileno()) >= 0:
            termios.tcsetwinsize(fd, (rows, columns))

    def close(self) -> None:
        """Kill it if it is still there, and close its streams."""
        super().close()
        if self._other_side >= 0:
            os.close(self._other_side)
            self._other_side = -1
        for stream in self._streams:
            stream.close()

    def _open_stdio(self, lent: ExitStack) -> list[int]:
        """Return descriptors for it, of which those that are not the caller's are lent."""
        missing = [number for number, fd in enumerate(self._stdio) if fd is None]
        fds = [-1 if fd is None else fd for fd in self._stdio]
        if self.spec.terminal:
            stand_in = self._open_stand_in(lent) if missing else -1
            return [stand_in if fd < 0 else fd for fd in fds]
        from .streams import open_pipe

        for number in missing:
            stream, fds[number] = open_pipe(is_input=number == _STDIN)
            lent.callback(os.close, fds[number])
            self._streams.append(stream)
            setattr(self, ("stdin", "stdout", "stderr")[number], stream)
        return fds

    def _open_stand_in(self, lent: ExitStack) -> int:
        """Return a terminal in whose place, and with whose size, it gets its own."""
        import termios

        # It changes places after its start is told, and must not find that this one has hung up.
        self._other_side, terminal = os.openpty()
        lent.callback(os.close, terminal)
        termios.tcsetwinsize(terminal, _SIZE)
        return terminal
