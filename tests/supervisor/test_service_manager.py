"""What a service manager is told, with jobs that need no container: a test says how they are."""

import os
import socket
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.changes import Changes
from mocker.supervisor.config import JobConfig
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import Life, State
from mocker.supervisor.runs import Means
from mocker.supervisor.service_manager import ServiceManager
from tests.supervisor.job_world import configure, make_means

PATIENCE = 10.0  # seconds


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


async def wait_for_nothing(_: JobConfig) -> str:
    return ""


class Service:
    """A supervisor's jobs, and who is told about them.

    Attributes:
        manager: Who tells.
    """

    def __init__(self, means: Means, told: trio.socket.SocketType, env: Mapping[str, str]) -> None:
        self.jobs = dict[str, Job]()
        self.manager = ServiceManager(env)
        self.changes = Changes(self.jobs)
        self._means, self._told = means, told

    def make(self, name: str, state: State, attempt: int = 1) -> None:
        """Let there be a job, or let it be in another state."""
        if name not in self.jobs:
            config = configure("", name=name)
            self.jobs[name] = Job(config, self._means, wait_for_nothing, self.changes.tell)
        self.jobs[name]._become(Life(state=state, attempt=attempt))

    async def read(self) -> str:
        """Return the next message."""
        with trio.fail_after(PATIENCE):
            return (await self._told.recv(4096)).decode()

    def has_more(self) -> bool:
        try:
            self._told._sock.recv(1, socket.MSG_PEEK)  # type: ignore[attr-defined]
        except BlockingIOError:
            return False
        return True


@asynccontextmanager
async def serving(means: Means, path: str, **env: str) -> AsyncIterator[Service]:
    """Have a service whose manager listens at this address, and which tells nothing yet."""
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        await told.bind(path.replace("@", "\0", 1))
        yield Service(means, told, {"NOTIFY_SOCKET": path, **env})


@asynccontextmanager
async def telling(service: Service) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.manager.run, service.jobs, service.changes)
        yield
        nursery.cancel_scope.cancel()


async def test_manager_is_told_that_all_jobs_have_been_started(
    means: Means, tmp_path: Path
) -> None:
    async with serving(means, str(tmp_path / "notify")) as service:
        service.make("web", State.STARTING)
        service.make("db", State.STARTING)

        async with telling(service):
            messages = [await service.read()]
            service.make("db", State.RUNNING)
            messages.append(await service.read())
            service.make("web", State.RUNNING)
            messages += [await service.read(), await service.read()]

    assert messages == [
        "STATUS=2 STARTING",
        "STATUS=1 STARTING, 1 RUNNING",
        "STATUS=2 RUNNING",
        "READY=1",
    ]


@pytest.mark.parametrize(
    ("state", "attempt"),
    [
        (State.STOPPED, 0),
        (State.STOPPED, 1),
        (State.BACKOFF, 1),
        (State.STARTING, 2),
        (State.EXITED, 1),
        (State.FATAL, 1),
    ],
)
async def test_job_that_came_to_nothing_does_not_keep_the_service_from_being_ready(
    means: Means, tmp_path: Path, state: State, attempt: int
) -> None:
    async with serving(means, str(tmp_path / "notify")) as service:
        service.make("web", state, attempt)

        async with telling(service):
            messages = [await service.read(), await service.read()]

    assert messages == [f"STATUS=1 {state.value}", "READY=1"]


async def test_state_is_told_again_when_it_is_another_one(means: Means, tmp_path: Path) -> None:
    async with serving(means, str(tmp_path / "notify")) as service:
        service.make("web", State.RUNNING)

        async with telling(service):
            await service.read()
            await service.read()
            service.make("web", State.BACKOFF)
            message = await service.read()

    assert message == "STATUS=1 BACKOFF"


async def test_reload_is_told_with_its_time_and_its_end(means: Means, tmp_path: Path) -> None:
    async with serving(means, str(tmp_path / "notify")) as service, telling(service):
        await service.read()

        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        with service.manager.reloading():
            begin = await service.read()
        end = await service.read()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    reloading, _, moment = begin.partition("\nMONOTONIC_USEC=")
    assert (reloading, end) == ("RELOADING=1", "READY=1")
    assert before <= int(moment) <= after


async def test_reload_before_all_jobs_have_been_started_is_not_told(
    means: Means, tmp_path: Path
) -> None:
    async with serving(means, str(tmp_path / "notify")) as service:
        service.make("web", State.STARTING)
        async with telling(service):
            await service.read()

            with service.manager.reloading():
                await wait_all_tasks_blocked()
            await wait_all_tasks_blocked()

            assert not service.has_more()


async def test_end_is_told_with_its_reason_and_nothing_after_it(
    means: Means, tmp_path: Path
) -> None:
    async with serving(means, str(tmp_path / "notify")) as service:
        service.make("web", State.STARTING)
        async with telling(service):
            await service.read()

            service.manager.stop("SIGTERM was received", service.jobs)
            service.make("web", State.STOPPED)
            message = await service.read()
            await trio.sleep(0.2)  # beyond the next look at the jobs
            await wait_all_tasks_blocked()

            assert message == "STOPPING=1\nSTATUS=stopping: SIGTERM was received"
            assert not service.has_more()


async def test_service_that_ends_at_once_was_ready_before(means: Means, tmp_path: Path) -> None:
    # Or the manager would take it for one that has failed to start.
    async with serving(means, str(tmp_path / "notify")) as service:
        service.make("web", State.STARTING)
        async with telling(service):
            await service.read()

            service.make("web", State.EXITED)
            service.manager.stop("nothing is left to run", service.jobs)
            messages = [await service.read() for _ in range(3)]

    assert messages[:2] == ["STATUS=1 EXITED", "READY=1"]
    assert messages[2].startswith("STOPPING=1\n")


async def test_sign_of_life_is_given_at_intervals(means: Means, tmp_path: Path) -> None:
    watchdog = {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": str(os.getpid())}
    async with serving(means, str(tmp_path / "notify"), **watchdog) as service:
        service.make("web", State.STARTING)

        async with telling(service):
            began = trio.current_time()
            messages = [await service.read() for _ in range(4)]
            took = trio.current_time() - began

    messages.remove("STATUS=1 STARTING")
    assert messages == ["WATCHDOG=1"] * 3
    assert took >= 0.09


@pytest.mark.parametrize(
    "env",
    [{"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "often"}, {}],
    ids=str,
)
async def test_nobody_else_is_given_signs_of_life(
    means: Means, tmp_path: Path, env: dict[str, str]
) -> None:
    async with serving(means, str(tmp_path / "notify"), **env) as service:
        service.make("web", State.RUNNING)
        async with telling(service):
            messages = [await service.read(), await service.read()]
            await wait_all_tasks_blocked(0.01)

            assert "WATCHDOG=1" not in messages
            assert not service.has_more()


async def test_address_may_be_an_abstract_one(means: Means) -> None:
    async with serving(means, f"@tests-{os.getpid()}") as service:
        service.make("web", State.RUNNING)

        async with telling(service):
            message = await service.read()

    assert message == "STATUS=1 RUNNING"


async def test_manager_that_is_gone_is_told_once(means: Means, tmp_path: Path) -> None:
    path = tmp_path / "notify"
    async with serving(means, str(path)) as service:
        path.unlink()
        service.make("web", State.RUNNING)

        with capture_logs() as events:
            async with telling(service):
                await wait_all_tasks_blocked(0.01)

    reason = f"cannot notify {path}: No such file or directory (ENOENT)"
    assert events == [
        {"event": "service_manager.unreachable", "log_level": "warning", "reason": reason}
    ]


async def test_without_a_manager_nothing_is_told_and_nothing_goes_on(means: Means) -> None:
    manager = ServiceManager({})
    jobs = dict[str, Job]()

    with capture_logs() as events:
        await manager.run(jobs, Changes(jobs))
        with manager.reloading():
            pass
        manager.stop("SIGTERM was received", jobs)

    assert events == []
