"""Ask the resources of a supervisor that runs in this process, without a socket."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from starlette.types import Message

from mocker.supervisor.config import JobConfig, SupervisorConfig
from mocker.supervisor.control.app import Resources
from mocker.supervisor.control.connections import Connection, Followers
from mocker.supervisor.errors import ConfigError
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.supervise import Supervisor
from tests.supervisor.control.control_world import ROOT
from tests.supervisor.job_world import reach, surroundings


class Asked:
    """A supervisor that runs while a test asks it.

    Attributes:
        supervisor: The one.
        file: What a reload finds; a ConfigError is raised.
        peer: Who asks.
    """

    def __init__(self, means: Means, *jobs: JobConfig) -> None:
        self.file: SupervisorConfig | ConfigError = SupervisorConfig(
            path="/jobs.toml", name="demo", jobs={job.name: job for job in jobs}
        )
        self.supervisor = Supervisor(self.file, means, self._load, _abandon)
        self.peer = ROOT
        self._app = Resources(self.supervisor).make_app()

    async def ask(
        self, method: str, path: str, body: dict[str, object] | None = None
    ) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [],
        }
        requests: list[Message] = [
            {"type": "http.request", "body": b"" if body is None else json.dumps(body).encode()}
        ]
        answers: list[Message] = []

        async def receive() -> Message:
            if not requests:
                await trio.sleep_forever()
            return requests.pop()

        async def send(message: Message) -> None:
            await trio.lowlevel.checkpoint()
            answers.append(message)

        ours, theirs = trio.socket.socketpair()
        with ours, theirs:
            connection = Connection(theirs, self.peer, Followers(1, 1))
            await self._app({**scope, "connection": connection}, receive, send)
        return answers[0]["status"], b"".join(answer["body"] for answer in answers[1:])

    async def ask_object(
        self, method: str, path: str, body: dict[str, object] | None = None
    ) -> tuple[int, Any]:
        """Return the status and the object of an answer."""
        status, content = await self.ask(method, path, body)
        return status, json.loads(content)

    async def ask_lines(self, path: str, body: dict[str, object]) -> list[Any]:
        """Return the objects of an answer that has one a line."""
        status, content = await self.ask("POST", path, body)
        assert status == 200, content
        return [json.loads(line) for line in content.splitlines()]

    def _load(self) -> SupervisorConfig:
        if isinstance(self.file, ConfigError):
            raise self.file
        return self.file


@asynccontextmanager
async def open_asked(means: Means, *jobs: JobConfig) -> AsyncIterator[Asked]:
    """Run a supervisor for the length of a block; all jobs but those of the clock have begun."""
    asked = Asked(means, *jobs)
    async with surroundings(means) as nursery:
        nursery.start_soon(asked.supervisor.run, _no_signals())
        while not asked.supervisor.jobs:
            await trio.lowlevel.checkpoint()
        for job in list(asked.supervisor.jobs.values()):
            if job.config.schedule is None:
                await reach(job, State.RUNNING, State.EXITED)
        yield asked
        asked.supervisor.end("the test is over", 0)
        for job in list(asked.supervisor.jobs.values()):
            await job.wait_at_rest()


async def _no_signals() -> AsyncIterator[int]:
    await trio.sleep_forever()
    yield 0


async def _abandon(_: int) -> None:
    raise AssertionError("the supervisor did not end in order")
