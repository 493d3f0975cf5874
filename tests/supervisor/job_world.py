"""What jobs need around them in a test: a fork server, a reaper, and a file for their output."""

import math
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from mocker.isolation import ForkServer
from mocker.supervisor.config import ContainerConfig, JobConfig, Probe
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from mocker.supervisor.output import Output
from mocker.supervisor.reaper import Reaper
from mocker.supervisor.runs import Means
from mocker.supervisor.starter import Starter


@contextmanager
def make_means() -> Iterator[Means]:
    """Make what jobs share; the output is a file in memory."""
    output_fd = os.memfd_create("output")
    try:
        with ForkServer() as server:
            reaper = Reaper()
            yield Means(Starter(server, reaper.watch), reaper, Output(output_fd))
    finally:
        os.close(output_fd)


@asynccontextmanager
async def surroundings(means: Means) -> AsyncIterator[trio.Nursery]:
    """Run what is shared for the length of a block, and all that is started in the nursery."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(means.output.run)
        for pid in means.starter.server.pids:
            means.reaper.watch(pid)
        await nursery.start(means.reaper.run)
        yield nursery
        await means.output.drain(math.inf)
        nursery.cancel_scope.cancel()
    for pid in means.starter.server.pids:
        means.reaper.forget(pid)


def read_lines(means: Means) -> list[str]:
    """Return what the jobs have printed."""
    size = os.fstat(means.output.fd).st_size
    return os.pread(means.output.fd, size, 0).decode().splitlines()


def configure(script: str, **fields: object) -> JobConfig:
    """Return a job that is a shell script; the fields are those of JobConfig, from a table."""
    name = str(fields.get("name", "web"))
    container = ContainerConfig(argv=("sh", "-c", script), rootfs="busybox", hostname=name)
    return JobConfig(**{"name": name, "group": name, "container": container, **fields})  # type: ignore[arg-type]


def wait_for_line(line: str) -> dict[str, object]:
    """Return the fields of a job that is ready when it prints a line, however long that takes."""
    return {"ready": Probe(kind="log", target=f"^{line}$"), "start_timeout": math.inf}


async def reach(job: Job, *states: State) -> None:
    """Wait until a job is in one of these states."""
    while job.life.state not in states:
        await job.wait_changed()
