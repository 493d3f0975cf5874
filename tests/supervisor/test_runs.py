"""The pieces of one run; `test_jobs` has them at work."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from mocker.isolation import CommandError, SetupError
from mocker.supervisor.config import ContainerConfig
from mocker.supervisor.relay import LineTail
from mocker.supervisor.runs import Means, Pipes, close_all, kill, start, wait_executed
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.job_world import configure, make_means, read_lines, surroundings

pytestmark = [requires_user_namespaces, requires_busybox]


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


def test_pipes_are_closed_on_exec() -> None:
    pipes = Pipes()

    inheritable = [os.get_inheritable(fd) for fd in pipes.read_ends + pipes.write_ends]

    close_all(pipes.read_ends)
    close_all(pipes.write_ends)
    assert inheritable == [False] * 4


def test_pipes_that_are_refused_leave_nothing_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, hard))  # one pipe, and half of another
    try:
        with pytest.raises(SetupError, match="Too many open files"):
            Pipes()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_run_writes_to_its_pipes(means: Means) -> None:
    pipes, tail = Pipes(), LineTail(20)
    job = configure("echo one; echo two >&2")

    async with surroundings(means), trio.open_nursery() as nursery:
        pipes.relay(nursery, job, means.output, tail, None)
        with await start(job, means, pipes) as container:
            await wait_executed(container)
            await trio.lowlevel.wait_readable(container.fileno())
            means.reaper.forget(container.pid)

    assert sorted(tail.lines()) == [b"one", b"two"]
    assert sorted(read_lines(means)) == ["web | one", "web | two"]


async def test_command_that_cannot_be_executed_is_told_after_the_start(means: Means) -> None:
    pipes = Pipes()
    config = ContainerConfig(argv=("nosuch",), rootfs="busybox", hostname="web")
    job = configure("", container=config)

    async with surroundings(means):
        with await start(job, means, pipes) as container:
            with pytest.raises(CommandError, match="nosuch"):
                await wait_executed(container)
            means.reaper.forget(container.pid)

    close_all(pipes.read_ends)


async def test_start_that_is_refused_closes_what_the_command_would_have_got(
    means: Means, tmp_path: Path
) -> None:
    pipes = Pipes()

    with pytest.raises(SetupError, match="No such file"):
        await start(configure("", stdin=str(tmp_path / "none")), means, pipes)

    close_all(pipes.read_ends)
    assert pipes.write_ends == []


async def test_those_who_are_killed_are_told(means: Means) -> None:
    pipes = Pipes()
    job = configure("exec sleep 1000")

    async with surroundings(means):
        with await start(job, means, pipes) as container:
            await wait_executed(container)
            with capture_logs() as events:
                await kill(job, container)
            await trio.lowlevel.wait_readable(container.fileno())
            means.reaper.forget(container.pid)

    close_all(pipes.read_ends)
    (event,) = events
    assert (event["event"], event["job"]) == ("job.killed", "web")
    assert len(event["survivors"]) == 1
