"""One run of a job: its pipes, its container, and what is left to kill.

The pipes outlive the container: a run's output is complete when they are at end of file, and they
are when its PID namespace is gone, because then nobody is left who could write.
"""

import os
import signal
import termios
from collections import defaultdict
from contextlib import suppress

import attrs
import structlog
import trio

from mocker.isolation import Container, SetupError, receive_descriptors
from mocker.isolation.survivors import list_descendants, read_title

from .config import INHERIT, JobConfig
from .delegated_cgroups import JobCgroups
from .feeds import Feeds
from .line_ring import RingSpace
from .pseudoterminal import Pseudoterminal
from .reaper import Reaper
from .run_output import Outputs, RunOutput
from .sink_table import SinkTable
from .starter import Starter, make_late
from .threads import run_in_thread

log = structlog.get_logger("mocker.jobs")

_ANSWER_S = 5.0  # for another job's init, which takes less than a millisecond if nobody stops it
_MOST_SURVIVORS = 50  # that are told; a fork bomb's thousands help nobody
_SIZE = (24, 80)  # rows and columns of a terminal, until somebody is attached
_LISTING_S = 1.0  # for what can be known of the survivors; one that hangs may hang who looks at it


@attrs.frozen
class Means:
    """What the runs of all jobs share.

    Attributes:
        starter: Makes the containers.
        reaper: Collects them.
        sinks: Where their lines go.
        rings: Where the last of them are kept.
        feeds: Where they can be followed.
        outputs: What carries them.
        running: The containers whose commands are executed, by job.
        looking: Threads that look at survivors, any of which may hang for ever; others do without.
        opening: A thread for each file that is somebody's stdin: it may hang, and holds up nobody
            who wants another file.
        cgroups: Makes those that the containers are born in.
    """

    starter: Starter
    reaper: Reaper
    sinks: SinkTable
    rings: RingSpace = attrs.field(factory=RingSpace)
    feeds: Feeds = attrs.field(factory=Feeds)
    outputs: Outputs = attrs.field(factory=Outputs)
    running: dict[str, Container] = attrs.field(factory=dict)
    looking: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(4))
    opening: dict[str, trio.CapacityLimiter] = attrs.field(
        factory=lambda: defaultdict(lambda: trio.CapacityLimiter(1))
    )
    cgroups: JobCgroups = attrs.field()

    @cgroups.default
    def _make_cgroups(self) -> JobCgroups:
        return JobCgroups(self.starter.server.list_pids)


class Pipes:
    """The pipes of a run.

    Attributes:
        read_ends: For the relays, by channel; closed here unless one of them takes it.
        write_ends: For the command, first its stdout and its stderr; closed here once it has them.

    Raises:
        SetupError: There are no descriptors left.
    """

    def __init__(self, job: JobConfig) -> None:
        self._job = job.name
        self.read_ends: dict[str, int] = {}
        self.write_ends: list[int] = []
        self._terminal: list[int] = []  # the write end of its log, the other side of a stand-in
        try:
            if job.tty:
                self._add_terminal()
                return
            for fd, name in ((1, "stdout"), (2, "stderr")):
                self._add(fd, name if name in job.channels else "output", job)
        except OSError as error:
            self.close()
            raise SetupError("make pipes for its output", error.errno or 0) from error

    def take_read_ends(self) -> dict[str, int]:
        """Return the descriptors that are to be read, by channel; the caller closes them."""
        taken, self.read_ends = self.read_ends, {}
        return taken

    def open_terminal(self, container: Container, output: RunOutput) -> Pseudoterminal | None:
        """Return the terminal of a container whose command is executed; None if it has none.

        What is printed there is a part of the run's output.
        """
        if container.terminal_fd < 0:
            return None
        log, stand_in = self._terminal
        self._terminal = []
        os.close(stand_in)
        master, container.terminal_fd = container.terminal_fd, -1
        terminal = Pseudoterminal(master, log, self._job)
        output.carry_terminal(terminal)
        return terminal

    def close(self) -> None:
        """Close what nobody has taken."""
        close_all(self.write_ends)
        close_all(self._terminal)
        while self.read_ends:
            os.close(self.read_ends.popitem()[1])

    def _add_terminal(self) -> None:
        """Add a terminal that stands for the container's own, which takes its place and size."""
        self.read_ends["output"], log = os.pipe2(os.O_CLOEXEC)
        self._terminal.append(log)
        master, slave = os.openpty()
        self._terminal.append(master)
        self.write_ends.append(slave)
        termios.tcsetwinsize(slave, _SIZE)
        self.write_ends.append(os.dup(slave))

    def _add(self, fd: int, channel: str, job: JobConfig) -> None:
        """Add what the command gets as this descriptor."""
        if job.channels[channel] == (INHERIT,):
            self.write_ends.append(os.dup(fd))
        elif channel in self.read_ends:
            self.write_ends.append(os.dup(self.write_ends[0]))
        else:
            self.read_ends[channel], write_end = os.pipe2(os.O_CLOEXEC)
            self.write_ends.append(write_end)


def close_all(fds: list[int]) -> None:
    """Close descriptors and take them out of the list."""
    while fds:
        os.close(fds.pop())


async def start(job: JobConfig, means: Means, pipes: Pipes) -> Container:
    """Start to make a container that writes to the pipes.

    Raises:
        IsolationError: It could not be made, or its stdin cannot be opened, or not in time.
    """
    fds: list[int] = []
    try:
        fds.append(await _open_stdin(job, means, pipes))
        fds += await _find_namespaces(job, means)
        cgroup = await means.cgroups.make(job.container.limits)
        spec = job.make_spec(cgroup.limits if cgroup is not None else None)
        stdio = [fds[0], *pipes.write_ends]
        with means.reaper.starting():
            try:
                container = await means.starter.start(
                    spec, stdio, fds[1:], cgroup, patience=job.start_timeout
                )
            except BaseException:
                if cgroup is not None:
                    cgroup.remove()
                raise
            means.reaper.watch(container.pid)
            if container.helper:
                means.reaper.watch(container.helper)
    except BlockingIOError as error:
        raise SetupError("start a thread", error.errno or 0) from error
    finally:
        close_all(pipes.write_ends)
        close_all(fds)
    if container.helper:
        with trio.CancelScope(shield=True):  # it has ended already
            await means.reaper.wait(container.helper)
    return container


async def wait_executed(job: JobConfig, means: Means, container: Container) -> None:
    """Wait until the command of a container is executed.

    Raises:
        IsolationError: It is not, or not in time; nothing is left of the container.
    """
    with trio.move_on_after(job.start_timeout) as wait:
        await trio.lowlevel.wait_readable(container.report_fd)
    if wait.cancelled_caught:
        await kill(job, means, container)
        await trio.lowlevel.wait_readable(container.fileno())
        raise make_late(job.start_timeout)
    container.wait_started()


async def resume(container: Container) -> None:
    """Let a command go on whenever a key at its terminal has stopped it, until it has ended.

    There is no shell to which whoever pressed it could say so.
    """
    while container.spec.terminal:
        await trio.lowlevel.wait_readable(container.control_fd)
        if container.take_stop() == signal.SIGTSTP:
            container.send_signal(signal.SIGCONT)
        elif container.has_ended():
            return


async def kill(job: JobConfig, means: Means, container: Container) -> None:
    """Kill everything in a container, and say what that was."""
    survivors: list[str] = []
    with trio.move_on_after(_LISTING_S), suppress(OSError):
        survivors = await run_in_thread(_list_survivors, container.pid, limiter=means.looking)
    container.kill()
    log.warning("job.killed", job=job.name, pid=container.pid, survivors=survivors)


def _list_survivors(init: int) -> list[str]:
    """Return "PID COMMAND LINE" of the processes below an init, as the host counts."""
    pids = list_descendants(init, _MOST_SURVIVORS)
    return [f"{pid} {title}" for pid in pids if (title := read_title(pid))]


async def _open_stdin(job: JobConfig, means: Means, pipes: Pipes) -> int:
    path = job.stdin
    try:
        if job.tty:
            return os.dup(pipes.write_ends[0])
        if path is None:
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        # In a thread, for a disk may be slow.
        with trio.move_on_after(job.start_timeout):
            thread = means.opening[path]
            return await run_in_thread(_open_for_reading, path, limiter=thread, discard=os.close)
        hint = f"its disk has not answered for {job.start_timeout:g} s"
    except OSError as error:
        raise SetupError("open stdin from ", error.errno or 0, path or os.devnull) from error
    raise SetupError("open stdin from ", 0, path, hint)


def _open_for_reading(path: str) -> int:
    # Not to wait for the other end of a FIFO; the command itself reads as usual.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(fd, True)
    return fd


async def _find_namespaces(job: JobConfig, means: Means) -> list[int]:
    """Return descriptors of what a job shares with another one, if it does.

    Raises:
        SetupError: The other one does not run, or its init does not answer.
    """
    _, shares, other = job.container.network.partition("job:")
    if not shares:
        return []
    if other not in means.running:
        raise SetupError(f"share the network of {other}", hint=f"{other} does not run")
    with means.running[other].request_namespaces() as reply:
        with trio.move_on_after(_ANSWER_S) as wait:
            await trio.lowlevel.wait_readable(reply)
        if wait.cancelled_caught:
            hint = f"its init has not answered for {_ANSWER_S:g} s"
            raise SetupError(f"share the network of {other}", hint=hint)
        return receive_descriptors(reply)
