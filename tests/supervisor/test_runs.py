"""The pieces of one run; `test_jobs` has them at work."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from mocker.isolation import CommandError, SetupError
from mocker.supervisor.config import CONSOLE, INHERIT, ContainerConfig
from mocker.supervisor.runs import Means, Pipes, kill, start, wait_executed
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.job_world import configure, make_means, surroundings

pytestmark = [requires_user_namespaces, requires_busybox]


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


def test_pipes_are_closed_on_exec() -> None:
    pipes = Pipes(configure(""))

    fds = [*pipes.read_ends.values(), *pipes.write_ends]
    inheritable = [os.get_inheritable(fd) for fd in fds]

    pipes.close()
    assert inheritable == [False] * 4


def test_pipes_that_are_refused_leave_nothing_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, hard))  # one pipe, and half of another
    try:
        with pytest.raises(SetupError, match="Too many open files"):
            Pipes(configure(""))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_run_writes_to_its_pipes(means: Means) -> None:
    job = configure("echo one; echo two >&2")
    pipes = Pipes(job)

    async with surroundings(means):
        with await start(job, means, pipes) as container:
            await wait_executed(job, means, container)
            await trio.lowlevel.wait_readable(container.fileno())
            means.reaper.forget(container.pid)

    printed = {channel: os.read(fd, 100) for channel, fd in pipes.read_ends.items()}
    pipes.close()
    assert printed == {"stdout": b"one\n", "stderr": b"two\n"}


async def test_both_channels_in_one_pipe_keep_their_order(means: Means) -> None:
    job = configure("echo 1; echo 2 >&2; echo 3; echo 4 >&2", channels={"output": (CONSOLE,)})
    pipes = Pipes(job)

    async with surroundings(means):
        with await start(job, means, pipes) as container:
            await wait_executed(job, means, container)
            await trio.lowlevel.wait_readable(container.fileno())
            means.reaper.forget(container.pid)

    printed = {channel: os.read(fd, 100) for channel, fd in pipes.read_ends.items()}
    pipes.close()
    assert printed == {"output": b"1\n2\n3\n4\n"}


def test_channel_that_is_inherited_has_no_pipe() -> None:
    pipes = Pipes(configure("", channels={"stdout": (INHERIT,), "stderr": ()}))

    same = os.path.sameopenfile(pipes.write_ends[0], 1)

    channels = list(pipes.read_ends)
    pipes.close()
    assert (same, channels) == (True, ["stderr"])


async def test_command_that_cannot_be_executed_is_told_after_the_start(means: Means) -> None:
    config = ContainerConfig(argv=("nosuch",), rootfs="busybox", hostname="web")
    job = configure("", container=config)
    pipes = Pipes(job)

    async with surroundings(means):
        with await start(job, means, pipes) as container:
            with pytest.raises(CommandError, match="nosuch"):
                await wait_executed(job, means, container)
            means.reaper.forget(container.pid)

    pipes.close()


async def test_start_that_is_refused_closes_what_the_command_would_have_got(
    means: Means, tmp_path: Path
) -> None:
    job = configure("", stdin=str(tmp_path / "none"))
    pipes = Pipes(job)

    with pytest.raises(SetupError, match="No such file"):
        await start(job, means, pipes)

    pipes.close()
    assert pipes.write_ends == []


async def test_those_who_are_killed_are_told(means: Means) -> None:
    job = configure("exec sleep 1000")
    pipes = Pipes(job)

    async with surroundings(means):
        with await start(job, means, pipes) as container:
            await wait_executed(job, means, container)
            with capture_logs() as events:
                await kill(job, means, container)
            await trio.lowlevel.wait_readable(container.fileno())
            means.reaper.forget(container.pid)

    pipes.close()
    (event,) = events
    assert (event["event"], event["job"]) == ("job.killed", "web")
    assert len(event["survivors"]) == 1
