"""Ask a supervisor: what programs on trio have, and what the commands of `mocker` are made of.

Both have the same choice of a supervisor, the same requests, and the same errors. What differs is
how they wait, see `transport`; so nothing here may import trio. Each question has a connection of
its own, so that none waits for another one.
"""

import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager

from mocker.isolation import ContainerSpec

from . import resources
from .answer_lines import AnswerLines, Object
from .connections import Connections
from .conversation import Conversation
from .exchange import Body, Query, list_objects

TYPE_CHECKING = False  # what is only sometimes needed would cost each `mocker ps` milliseconds
if TYPE_CHECKING:
    from .attached_job import AttachedJob
    from .executed_process import ExecutedProcess
    from .transport import Transport


class Client:
    """Asks a running supervisor, for the length of an `async with` block.

    What comes back are the objects of its answers, as `curl` shows them; the OpenAPI description
    at /v1/openapi.json has all of them. Several tasks may ask at the same time. A question that is
    cancelled is not answered any more, but what it has begun goes on.

    There is a method for each command but `top`, which shows what the others tell, and
    `completion`, which is for shells; that of `ps` is called `jobs`. What a command prints line by
    line, such as the outcomes of `stop`, is an `AnswerLines`: awaited, it is the list of all; in an
    `async with` block, they are there as they come.

    All methods raise AnswerError for what the supervisor refuses, NoSupervisorError where there is
    none any more, and ProtocolError where something else answers.
    """

    __slots__ = ("_connections", "_tell_version", "_wanted")

    def __init__(
        self,
        supervisor: str | None = None,
        *,
        transport: "Transport | None" = None,
        tell_version: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Make it; nobody is asked yet.

        Args:
            supervisor: Its name, or the path of its socket with a slash; None for what
                MOCKER_SOCKET says, or else for the only one of this user's.
            transport: How to wait; None for as programs on trio do.
            tell_version: Is told the version of the supervisor, each time that it answers.
        """
        if transport is None:
            from .trio_transport import TrioTransport

            transport = TrioTransport()
        self._wanted, self._tell_version = supervisor, tell_version
        self._connections = Connections(transport)

    @property
    def path(self) -> str:
        """The path of the socket of the supervisor; known inside the block."""
        return self._connections.path

    async def __aenter__(self) -> "Client":
        """Find the supervisor.

        Raises:
            NoSupervisorError: None is found, or several, or it does not answer.
        """
        await self._connections.find(self._wanted)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let no question go on: who still waits for an answer gets a NoSupervisorError."""
        self._connections.close_all()

    async def supervisor(self) -> Object:
        """Return who answers: its name, its file, its version."""
        return await self.ask(*resources.get_supervisor())

    async def jobs(self, *names: str, stats: bool = False) -> list[Object]:
        """Return the state of jobs, in the order of the file.

        Args:
            names: Names, patterns such as "web-*", or none for all.
            stats: Whether to tell their CPU and memory as well.
        """
        return await self._list(resources.list_jobs(names, stats=stats))

    async def stats(self, *names: str) -> list[Object]:
        """Return what jobs use and have printed, in the order of the file."""
        return await self._list(resources.list_figures(names))

    async def config(self, name: str) -> list[Object]:
        """Return what a job is like, or several.

        Args:
            name: Of one, a pattern such as "web-*", or "all".
        """
        return await self._list(resources.get_config(name))

    def start(self, *names: str, wait: bool = True) -> AnswerLines:
        """Start jobs; tell what came of each once it is known.

        Args:
            names: Names, patterns such as "web-*", or "all".
            wait: Whether to wait until they are started.
        """
        return self._ask_for_lines(resources.act("start", names, wait=wait))

    def stop(self, *names: str, wait: bool = True, force: bool = False) -> AnswerLines:
        """Stop jobs, see `start`.

        Args:
            names: See `start`.
            wait: See `start`.
            force: Whether to stop also what others that run depend on.
        """
        return self._ask_for_lines(resources.act("stop", names, wait=wait, force=force))

    def restart(self, *names: str, wait: bool = True, rolling: bool = False) -> AnswerLines:
        """Stop jobs and start them anew, see `start`.

        Args:
            names: See `start`.
            wait: See `start`.
            rolling: Whether to do so one by one, each once the one before it is ready; if this is
                cancelled, the next ones keep running.
        """
        return self._ask_for_lines(resources.act("restart", names, wait=wait, rolling=rolling))

    def kill(self, *names: str, wait: bool = True) -> AnswerLines:
        """Stop jobs without their grace, see `start`."""
        return self._ask_for_lines(resources.act("kill", names, wait=wait))

    def pause(self, *names: str, wait: bool = True) -> AnswerLines:
        """Freeze all processes of jobs, see `start`."""
        return self._ask_for_lines(resources.act("pause", names, wait=wait))

    def resume(self, *names: str) -> AnswerLines:
        """Let jobs that are paused go on, see `start`."""
        return self._ask_for_lines(resources.act("resume", names))

    def signal(self, name: str, *names: str) -> AnswerLines:
        """Send a signal to the commands of jobs, see `start`.

        Args:
            name: Of the signal, such as "HUP".
            names: See `start`.
        """
        return self._ask_for_lines(resources.act("signal", names, signal=name))

    def scale(self, counts: Mapping[str, int]) -> AnswerLines:
        """Have other numbers of replicas; tell what came of each that came or went.

        Args:
            counts: How many of each entry of the file that has replicas.
        """
        return self._ask_for_lines(resources.scale(counts))

    def wait(
        self, *names: str, condition: str = "ready", timeout_s: float | None = None
    ) -> AnswerLines:
        """Wait until all jobs are as they are to be, or one never will be; tell each of them.

        Args:
            names: See `start`.
            condition: "ready", "completed" or "stopped".
            timeout_s: Seconds after which those that are not so yet are told as timed out; None
                for no end.
        """
        return self._ask_for_lines(resources.wait(names, condition, timeout_s))

    def logs(
        self,
        *names: str,
        count: int | None = None,
        since: float | None = None,
        follow: bool = False,
    ) -> AnswerLines:
        """Tell what jobs have printed last, a line each.

        Args:
            names: Names, patterns such as "web-*", or none for all.
            count: How many of the last lines of each; None for all that are kept.
            since: Seconds; only what came since so long ago.
            follow: Whether to go on with what they print, until the supervisor ends.
        """
        request = resources.get_logs(names, count=count, since_s=since, follow=follow)
        return self._ask_for_lines(request)

    async def truncate_logs(self, *names: str) -> Object:
        """Forget what jobs have printed; return of which.

        Args:
            names: See `start`.
        """
        return await self.ask(*resources.truncate_logs(names))

    def events(self) -> AnswerLines:
        """Tell how all jobs are, and then each change, until the supervisor ends."""
        return self._ask_for_lines(resources.follow_events())

    async def reload(self, *, dry_run: bool = False) -> Object:
        """Have the supervisor follow what has changed in its file; return that once it is done.

        Args:
            dry_run: Whether only to tell what would be changed.
        """
        return await self.ask(*(resources.plan_reload() if dry_run else resources.reload()))

    async def shutdown(self, *, wait: bool = False) -> Object:
        """Have the supervisor stop all jobs in order, and end; return its name.

        Args:
            wait: Whether to wait until its process is gone. What is returned says by "gone" whether
                it is: one in a PID namespace further out cannot be waited for.
        """
        from .peer_process import find_peer, open_process

        if wait:
            # Who connects before it runs to a socket of systemd's has that as its peer.
            await self.supervisor()
        with ExitStack() as until_gone:
            async with self._connected() as (connection, conversation):
                # Before it is asked, as the number might be another process's afterwards.
                pid = find_peer(connection) if wait else 0
                pidfd = until_gone.enter_context(open_process(pid))
                answer = await conversation.ask(resources.shut_down())
            if pidfd is not None:
                await self._connections.wait_ended(pidfd)
        return {**answer, "gone": pidfd is not None}

    def exec(  # noqa: PLR0913 - a process has as many
        self,
        job: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        workdir: str | None = None,
        tty: bool = False,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> "ExecutedProcess":
        """Execute a command in a job that runs, for the length of a block, see `ExecutedProcess`.

        Args:
            job: Its name.
            argv: The command and its arguments.
            env: Variables on top of the job's.
            user: As "USER[:GROUP]", of a job that runs as root; None for the job's.
            workdir: Where it starts; None for the job's.
            tty: Whether it has a terminal of its own, in the place of descriptors that are none.
            stdin: A descriptor of the caller's, which it reads itself; None for a stream. No
                terminal: what it is lent it could read, and change, for as long as it runs.
            stdout: As stdin, for what it prints.
            stderr: As stdout.

        Raises:
            SpecError: They cannot be meant.
        """
        from .executed_process import ExecutedProcess

        spec = ContainerSpec(argv, env=env or {}, user=user, workdir=workdir, terminal=tty)
        return ExecutedProcess(self._connections, job, spec, (stdin, stdout, stderr))

    def attach(self, job: str) -> "AttachedJob":
        """Be at the terminal of a job that has one, for the length of a block, see `AttachedJob`.

        Args:
            job: Its name.
        """
        from .attached_job import AttachedJob

        return AttachedJob(self._connections, job)

    async def ask(
        self, method: str, path: str, query: Query = (), body: Body | None = None
    ) -> Object:
        """Ask for any resource, and return the object that is the answer.

        Who looks (GET) gets a NoSupervisorError if nothing comes for half a minute.

        Args:
            method: Of HTTP.
            path: The resource, such as "/v1/supervisor".
            query: Keys and values.
            body: An object, if it has one.
        """
        async with self._connected() as (_, conversation):
            return await conversation.ask((method, path, query, body))

    def stream(
        self, method: str, path: str, query: Query = (), body: Body | None = None
    ) -> AnswerLines:
        """Ask for any resource that is answered in lines.

            async with client.stream("GET", "/v1/events") as events:
                async for event in events:
                    print(event)

        Args:
            method: See `ask`.
            path: See `ask`.
            query: See `ask`.
            body: See `ask`.
        """
        return self._ask_for_lines((method, path, query, body))

    async def _list(self, request: resources.Request) -> list[Object]:
        return list_objects(await self.ask(*request), "jobs")

    def _ask_for_lines(self, request: resources.Request) -> AnswerLines:
        return AnswerLines(self._open_lines(request))

    @asynccontextmanager
    async def _open_lines(self, request: resources.Request) -> AsyncIterator[Conversation]:
        async with self._connected() as (_, conversation):
            await conversation.ask_for_lines(request)
            yield conversation

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[socket.socket, Conversation]]:
        async with self._connections.connected() as connection:
            yield connection, Conversation(self._connections, connection, self._tell_version)
