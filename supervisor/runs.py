"""One run of a job: its pipes, its container, and what is left to kill.

The pipes outlive the container: a run's output is complete when they are at end of file, and they
are when its PID namespace is gone, because then nobody is left who could write.
"""

import os
from collections.abc import Callable
from errno import EAGAIN
from functools import partial

import attrs
import structlog
import trio

from mocker.isolation import Container, ContainerSpec, ForkServer

from .config import JobConfig
from .output import Output
from .reaper import Reaper
from .relay import LineTail, relay_lines
from .survivors import list_survivors

log = structlog.get_logger("mocker.jobs")

TAIL_LINES = 20
_LISTING_S = 1.0  # for what can be known of the survivors; one that hangs may hang who looks at it


@attrs.frozen
class Means:
    """What the runs of all jobs share.

    Attributes:
        server: Makes the containers.
        reaper: Collects them.
        output: Where their lines go.
        starts: One at a time, as the server makes them: more threads would only wait for it.
    """

    server: ForkServer
    reaper: Reaper
    output: Output
    starts: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))


class Pipes:
    """The two pipes of a run.

    Attributes:
        read_ends: For the relays, which close them.
        write_ends: For the command; closed here once it has them.

    Raises:
        OSError: There are no descriptors left.
    """

    def __init__(self) -> None:
        self.read_ends: list[int] = []
        self.write_ends: list[int] = []
        try:
            for _ in ("stdout", "stderr"):
                read_end, write_end = os.pipe2(os.O_CLOEXEC)
                self.read_ends.append(read_end)
                self.write_ends.append(write_end)
        except OSError:
            close_all(self.read_ends)
            close_all(self.write_ends)
            raise

    def relay(
        self,
        nursery: trio.Nursery,
        job: JobConfig,
        output: Output,
        tail: LineTail,
        seen: Callable[[bytes], None] | None,
    ) -> None:
        """Relay lines in the background, until nobody has the pipes open any more."""
        prefix = f"{job.name} | ".encode()
        while self.read_ends:
            nursery.start_soon(
                partial(
                    relay_lines,
                    self.read_ends.pop(0),
                    prefix=prefix,
                    output=output,
                    tail=tail,
                    seen=seen,
                )
            )


def close_all(fds: list[int]) -> None:
    """Close descriptors and take them out of the list."""
    while fds:
        os.close(fds.pop())


async def start(job: JobConfig, means: Means, pipes: Pipes) -> Container:
    """Start to make a container that writes to the pipes.

    Raises:
        OSError: The file for stdin cannot be opened.
        IsolationError: The container could not be made.
    """
    stdin = -1
    try:
        stdin = await _open_stdin(job.stdin)
        with means.reaper.starting():
            container = await trio.to_thread.run_sync(
                _start,
                means.server,
                job.make_spec(),
                [stdin, *pipes.write_ends],
                limiter=means.starts,
            )
            means.reaper.watch(container.pid)
    except RuntimeError as error:  # what Python says where a thread is refused
        raise OSError(EAGAIN, os.strerror(EAGAIN)) from error
    finally:
        close_all(pipes.write_ends)
        if stdin >= 0:
            os.close(stdin)
    return container


async def wait_executed(container: Container) -> None:
    """Wait until the command of a container is executed.

    Raises:
        IsolationError: It is not; nothing is left of the container.
    """
    await trio.lowlevel.wait_readable(container.report_fd)
    container.wait_started()


async def kill(job: JobConfig, container: Container) -> None:
    """Kill everything in a container, and say what that was."""
    survivors: list[str] = []
    with trio.move_on_after(_LISTING_S):
        survivors = await trio.to_thread.run_sync(
            list_survivors, container.pid, abandon_on_cancel=True
        )
    container.kill()
    log.warning("job.killed", job=job.name, pid=container.pid, survivors=survivors)


async def _open_stdin(path: str | None) -> int:
    if path is None:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    # In a thread, for a disk may be slow, and not in that of the starts, which it would hold up.
    return await trio.to_thread.run_sync(_open_for_reading, path)


def _open_for_reading(path: str) -> int:
    # Not to wait for the other end of a FIFO; the command itself reads as usual.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(fd, True)
    return fd


def _start(server: ForkServer, spec: ContainerSpec, stdio: list[int]) -> Container:
    return server.start(spec, stdin=stdio[0], stdout=stdio[1], stderr=stdio[2])
