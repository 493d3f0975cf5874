"""Jobs that a test moves by hand, in a supervisor that somebody may ask."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress

import trio

from mocker.isolation import ExitStatus
from mocker.supervisor import lifecycle
from mocker.supervisor.config import JobConfig, Probe, SupervisorConfig
from mocker.supervisor.control.connections import Connection, Followers
from mocker.supervisor.control.http_service import HttpService
from mocker.supervisor.control.peers import Peer
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.supervise import Supervisor
from tests.supervisor.job_world import configure, make_means

ROOT = Peer(1, 0, 0)


class Puppet(Job):
    """A job without a container, whose runs go on when a test says so."""

    def __init__(
        self,
        means: Means,
        name: str = "web",
        depends_on: Mapping[str, str] | None = None,
        **fields: object,
    ) -> None:
        # With a probe, so that it counts as started once it is ready, and not a while later.
        fields = {"ready": Probe(kind="log", target="up"), **fields}
        config = configure("", name=name, depends_on=depends_on or {}, **fields)
        super().__init__(config, means, wait_for_nothing, lambda _: None)

    def bring(self, state: State) -> None:
        """Bring it from its beginning to a state."""
        if state is State.STOPPED:
            return
        self.start()
        if state is State.STARTING:
            return
        self.become_ready()
        match state:
            case State.STOPPING:
                self.stop()
            case State.BACKOFF:
                self.end(1)
            case State.EXITED:
                self.end(0)
            case State.FATAL:
                self._become(lifecycle._give_up(self.life, "it has failed too often"))
            case _:
                pass

    def become_ready(self) -> None:
        """Execute its command, which is ready at once."""
        now = trio.current_time()
        self.pid = os.getpid()
        self._become(lifecycle.become_ready(lifecycle.execute(self.life, now), now))

    def leave(self) -> None:
        """Let its container be gone, while what it has printed is still on its way."""
        self.pid = None

    def end(self, code: int = 0) -> None:
        """Let its run end, if there is one: it is told to stop, or ends by itself."""
        self.leave()
        self.status = ExitStatus(code=code)
        now = trio.current_time()
        self._become(lifecycle.end_run(self.life, self.config, self.status, now, 0.0))

    def skip(self, reason: str) -> None:
        """Let it be in vain to wait for what it depends on."""
        self._become(lifecycle.skip(self.life, reason))


async def wait_for_nothing(_: JobConfig) -> str:
    return ""


@contextmanager
def make_supervisor(*names: str) -> Iterator[Supervisor]:
    """Make a supervisor of jobs that a test moves."""
    with make_means() as means:
        config = SupervisorConfig(path="/jobs.toml", name="jobs", jobs={})
        supervisor = Supervisor(config, means, lambda: config, give_up)
        for name in names:
            supervisor.jobs[name] = Puppet(means, name)
        yield supervisor


async def give_up(_: int) -> None:
    raise AssertionError("nothing is to be given up")


@asynccontextmanager
async def served(service: HttpService) -> AsyncIterator[trio.SocketStream]:
    """Give a connection whose other end a service answers, until that is done."""
    ours, theirs = trio.socket.socketpair()
    connection = Connection(theirs, ROOT, Followers(1, 1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.serve, connection)
        async with trio.SocketStream(ours) as stream:
            yield stream
    connection.close()


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    """Return what comes until the other end closes."""
    parts = bytearray()
    with suppress(trio.BrokenResourceError):  # the other end has not taken all that it was told
        while part := await stream.receive_some():
            parts += part
    return bytes(parts)
