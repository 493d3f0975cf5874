"""A job at whose terminal somebody is, from their side.

The other side is `control.attachment`. For the caller's terminal it is as if it were a process that
is executed in the job, but whoever leaves it leaves it alone: no signal goes there.
"""

import signal

from mocker.isolation import ContainerSpec, ExitStatus

from .connections import Connections
from .exec_messages import render_attach, render_size
from .executed import Executed

TYPE_CHECKING = False  # for programs on trio alone
if TYPE_CHECKING:
    from .streams import TerminalStream

_NO_COMMAND = "attach"  # that is asked for; it is there for the form
_LEAVING = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}


class AttachedJob(Executed):
    r"""A job at whose terminal one is for the length of an `async with` block; then it goes on.

        async with client.attach("shell") as job:
            await job.terminal.send_all(b"date\n")
            print(await job.terminal.receive_some())

    To enter the block raises AnswerError if the job has no terminal, or does not run. What it
    prints has to be received: who takes nothing for a second while there is more is detached, and
    `wait` says so.

    Attributes:
        job: Its name, as it was asked for.
        terminal: What is typed is sent there, and what is printed comes from there, from now on and
            until the end of this run of the job.
    """

    __slots__ = ("_terminal", "job")

    def __init__(self, connections: Connections, job: str) -> None:
        """Make it; nothing is asked yet.

        Args:
            connections: Of the client.
            job: Which.
        """
        self.job = job
        spec = ContainerSpec([_NO_COMMAND], terminal=True)
        super().__init__(connections, render_attach(job), spec, "the supervisor is gone")
        self._terminal: TerminalStream | None = None

    @property
    def terminal(self) -> "TerminalStream":
        """See above."""
        if self._terminal is None:
            raise RuntimeError("a job is attached to in an 'async with' block")
        return self._terminal

    async def __aenter__(self) -> "AttachedJob":
        """Be at its terminal."""
        from .streams import TerminalStream

        try:
            await self.connect()
            self.ask()
            await self.wait_started()
            self._terminal = TerminalStream(self.take_terminal())
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave it alone."""
        self.close()

    def close(self) -> None:
        """Leave it alone."""
        super().close()
        if self._terminal is not None:
            self._terminal.close()

    def send_signal(self, number: int) -> None:
        """Leave the job, if the signal asks its receiver to end."""
        if number in _LEAVING:
            self.leave(ExitStatus(signal=number))

    def kill(self) -> None:
        """Leave the job."""
        self.leave(ExitStatus(signal=signal.SIGKILL))

    def resize(self, rows: int, columns: int) -> None:
        """Let the job's terminal have a size; what uses the screen draws it anew."""
        self._tell(render_size(rows, columns))
