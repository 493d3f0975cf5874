"""What jobs need around them in a test: a fork server, a reaper, and a file for their output."""

import math
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import trio

from mocker.isolation import ForkServer
from mocker.supervisor.config import ContainerConfig, JobConfig, Probe
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from mocker.supervisor.reaper import Reaper
from mocker.supervisor.runs import Means
from mocker.supervisor.sink_table import SinkTable
from mocker.supervisor.starter import Starter

PRIORITY = "<6>"


@contextmanager
def make_means() -> Iterator[Means]:
    """Make what jobs share; their console is a file in memory."""
    fd = os.memfd_create("console")
    sinks = SinkTable(
        stdout=fd, console_format="prefix", supervisor="tests", journald_socket="/dev/null"
    )
    try:
        with ForkServer() as server:
            reaper = Reaper()
            starter = Starter(server, reaper.watch)
            yield Means(starter, reaper, sinks)
        if starter.given_up:
            _reap_what_is_left()
    finally:
        os.close(fd)


def _reap_what_is_left() -> None:
    """Reap what ends when the reaper does not run any more.

    Where time jumps, a planner is soon given up, and what it was making is nobody's.
    """
    deadline = time.monotonic() + 1
    with suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)


@asynccontextmanager
async def surroundings(means: Means) -> AsyncIterator[trio.Nursery]:
    """Run what is shared for the length of a block, and all that is started in the nursery."""
    async with trio.open_nursery() as nursery:
        await nursery.start(means.sinks.run)
        await nursery.start(means.outputs.run)
        for pid in means.starter.server.pids:
            means.reaper.watch(pid)
        await nursery.start(means.reaper.run)
        yield nursery
        await means.sinks.drain(math.inf)
        nursery.cancel_scope.cancel()
    for pid in means.starter.server.pids:
        means.reaper.forget(pid)


def read_lines(means: Means) -> list[str]:
    """Return what the jobs have printed."""
    fd = means.sinks._console._target.fd
    assert fd is not None
    text = os.pread(fd, os.fstat(fd).st_size, 0).decode()
    return [line[len(PRIORITY) :] for line in text.splitlines()]


def configure(script: str, **fields: object) -> JobConfig:
    """Return a job that is a shell script; the fields are those of JobConfig, from a table.

    By default it has all the time to start: on a mock clock that takes no time, or for ever.
    """
    name = str(fields.get("name", "web"))
    container = ContainerConfig(argv=("sh", "-c", script), rootfs="busybox", hostname=name)
    own = {"name": name, "group": name, "container": container, "start_timeout": math.inf}
    return JobConfig(**{**own, **fields})  # type: ignore[arg-type]


def wait_for_line(line: str) -> dict[str, object]:
    """Return the fields of a job that is ready when it prints a line, however long that takes."""
    return {"ready": Probe(kind="log", target=f"^{line}$")}


async def reach(job: Job, *states: State) -> None:
    """Wait until a job is in one of these states."""
    while job.life.state not in states:
        await job.wait_changed()
