"""A supervisor whose jobs nobody runs, and those who ask about it, over a real socket."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.client.exchange import Answer, parse_lines, render_request
from mocker.supervisor.config import SupervisorConfig
from mocker.supervisor.control.guard import Guard
from mocker.supervisor.control.server import ControlServer
from mocker.supervisor.jobs import Job
from mocker.supervisor.lines import Lines, Source
from mocker.supervisor.supervise import Supervisor
from tests.supervisor.job_world import configure, make_means

NAME = "tests"


class Served:
    """The supervisor.

    Attributes:
        supervisor: It.
    """

    def __init__(self, supervisor: Supervisor, directory: Path, *names: str) -> None:
        self.supervisor = supervisor
        self._directory = directory
        for name in names:
            self.add(name)

    def add(self, name: str) -> Job:
        job = Job(
            configure("true", name=name),
            self.supervisor._means,
            self.supervisor._wait_for_dependencies,
            self.supervisor.changes.tell,
        )
        self.supervisor.jobs[name] = job
        return job

    def print(self, job: str, text: bytes, time_ns: int = 0) -> None:
        """Let a job have printed something."""
        lines = Lines(Source(job, "stdout", 12, 1), text, (), time_ns)
        self.supervisor.jobs[job].ring.add(lines)
        self.supervisor.feeds.open(job).put(lines)

    async def wait_idle(self) -> None:
        """Wait until nobody follows anything."""
        while self.supervisor.feeds._followers or self.supervisor.changes._watchers:
            await wait_all_tasks_blocked(0.01)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Answer for the length of a block."""
        async with trio.open_nursery() as nursery:
            guard = Guard(self.supervisor.config.control)
            server = ControlServer(str(self._directory), NAME, self.supervisor, guard)
            nursery.start_soon(server.run)
            await wait_all_tasks_blocked()
            yield
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def ask(
        self, path: str, *query: tuple[str, str], method: str = "GET", body: object = None
    ) -> AsyncIterator["Asked"]:
        """Ask something."""
        with trio.fail_after(10):
            stream = await trio.open_unix_socket(self._directory / f"{NAME}.sock")
            async with stream:
                request = render_request(method, path, query, body)  # type: ignore[arg-type]
                await stream.send_all(request)
                yield Asked(stream)


class Asked:
    """A question, and the answer to it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._answer = Answer()

    async def read_all(self) -> tuple[int, list[dict[str, object]]]:
        """Return the status and all objects, once there are no more."""
        while not self._answer.at_end:
            self._answer.feed(await self._stream.receive_some())
        return self._answer.status, list(map(json.loads, self._answer.take_body().splitlines()))

    async def read(self, count: int) -> list[dict[str, object]]:
        """Return so many objects, as soon as they are there."""
        found = list[dict[str, object]]()
        while len(found) < count:
            self._answer.feed(await self._stream.receive_some())
            found += parse_lines(self._answer.take_text())
        return found


@contextmanager
def make_served(directory: Path, *names: str) -> Iterator[Served]:
    """Make a supervisor of jobs with these names."""
    with make_means() as means:
        config = SupervisorConfig(path="/jobs.toml", name=NAME, stop_timeout=1, jobs={})
        supervisor = Supervisor(config, means, lambda: config, _abandon)
        yield Served(supervisor, directory, *names)


async def _abandon(status: int) -> None:
    os._exit(status)
