"""Ask a supervisor from a program that runs on trio.

The same as the commands of `mocker` do: the same choice of a supervisor, the same requests, and the
same errors. Each question has a connection of its own, so that none waits for another one.
"""

import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from types import TracebackType

import trio

from ..threads import run_in_thread
from . import resources
from .address import NoSupervisorError, choose_socket, connect
from .exchange import Answer, Body, Query, list_objects, render_request

_CHUNK = 2**16  # bytes

Object = dict[str, object]


class Client:
    """Asks a running supervisor, for the length of an `async with` block.

    What comes back are the objects of its answers, as `curl` shows them; the OpenAPI description
    at /v1/openapi.json has all of them. Several tasks may ask at the same time. A question that is
    cancelled is not answered any more, but what it has begun goes on.

    All methods raise AnswerError for what the supervisor refuses, NoSupervisorError where there is
    none any more, and ProtocolError where something else answers.

    Attributes:
        path: Of the socket of the supervisor; known inside the block.
    """

    __slots__ = ("_open", "_wanted", "path")

    def __init__(self, supervisor: str | None = None) -> None:
        """Make it; nobody is asked yet.

        Args:
            supervisor: Its name, or the path of its socket with a slash; None for what
                MOCKER_SOCKET says, or else for the only one of this user's.
        """
        self.path = ""
        self._wanted = supervisor
        self._open: set[trio.SocketStream] = set()

    async def __aenter__(self) -> "Client":
        """Find the supervisor.

        Raises:
            NoSupervisorError: None is found, or several, or it does not answer.
        """
        # In threads: a connection waits for a supervisor that has many.
        self.path = await run_in_thread(choose_socket, self._wanted, dict(os.environ))
        (await run_in_thread(connect, self.path)).close()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let no question go on: who still waits for an answer gets a NoSupervisorError."""
        for stream in self._open:
            stream.socket.close()

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

    async def start(self, *names: str, wait: bool = True) -> list[Object]:
        """Start jobs; return the outcomes, each as it came, once all are known.

        Args:
            names: Names, patterns such as "web-*", or "all".
            wait: Whether to wait until they are started.
        """
        return await self._list_all(resources.act("start", names, wait=wait))

    async def stop(self, *names: str, wait: bool = True, force: bool = False) -> list[Object]:
        """Stop jobs, see `start`.

        Args:
            names: See `start`.
            wait: See `start`.
            force: Whether to stop also what others that run depend on.
        """
        return await self._list_all(resources.act("stop", names, wait=wait, force=force))

    async def restart(self, *names: str, wait: bool = True, rolling: bool = False) -> list[Object]:
        """Stop jobs and start them anew, see `start`.

        Args:
            names: See `start`.
            wait: See `start`.
            rolling: Whether to do so one by one, each once the one before it is ready; if this is
                cancelled, the next ones keep running.
        """
        return await self._list_all(resources.act("restart", names, wait=wait, rolling=rolling))

    async def kill(self, *names: str) -> list[Object]:
        """Stop jobs without their grace, see `start`."""
        return await self._list_all(resources.act("kill", names))

    async def pause(self, *names: str, wait: bool = True) -> list[Object]:
        """Freeze all processes of jobs, see `start`."""
        return await self._list_all(resources.act("pause", names, wait=wait))

    async def resume(self, *names: str) -> list[Object]:
        """Let jobs that are paused go on, see `start`."""
        return await self._list_all(resources.act("resume", names))

    async def signal(self, name: str, *names: str) -> list[Object]:
        """Send a signal to the commands of jobs, see `start`.

        Args:
            name: Of the signal, such as "HUP".
            names: See `start`.
        """
        return await self._list_all(resources.act("signal", names, signal=name))

    async def scale(self, counts: Mapping[str, int]) -> list[Object]:
        """Have other numbers of replicas; return what came of each that came or went.

        Args:
            counts: How many of each entry of the file that has replicas.
        """
        return await self._list_all(resources.scale(counts))

    async def wait(self, *names: str, condition: str = "ready") -> list[Object]:
        """Wait until all jobs are as they are to be, or never will be; return the outcomes.

        Args:
            names: See `start`.
            condition: "ready", "completed" or "stopped".
        """
        return await self._list_all(resources.wait(names, condition))

    def logs(
        self,
        *names: str,
        count: int | None = None,
        since: float | None = None,
        follow: bool = False,
    ) -> AbstractAsyncContextManager[AsyncIterator[Object]]:
        """Give what jobs have printed last, a line each, for the length of a block, see `stream`.

        Args:
            names: Names, patterns such as "web-*", or none for all.
            count: How many of the last lines of each; None for all that are kept.
            since: Seconds; only what came since so long ago.
            follow: Whether to go on with what they print, until the supervisor ends.
        """
        return self.stream(*resources.get_logs(names, count=count, since_s=since, follow=follow))

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[Object]]:
        """Give how all jobs are, and then each change, for the length of a block, see `stream`."""
        return self.stream(*resources.follow_events())

    async def reload(self, *, dry_run: bool = False) -> Object:
        """Have the supervisor follow what has changed in its file; return that once it is done.

        Args:
            dry_run: Whether only to tell what would be changed.
        """
        return await self.ask(*(resources.plan_reload() if dry_run else resources.reload()))

    async def shutdown(self) -> None:
        """Have the supervisor stop all jobs in order, and end; this does not wait for it."""
        await self.ask(*resources.shut_down())

    async def ask(
        self, method: str, path: str, query: Query = (), body: Body | None = None
    ) -> Object:
        """Ask for any resource, and return the object that is the answer.

        Args:
            method: Of HTTP.
            path: The resource, such as "/v1/supervisor".
            query: Keys and values.
            body: An object, if it has one.
        """
        async with self._connected() as stream:
            answer = Answer()
            await _send(stream, render_request(method, path, query, body))
            while not answer.at_end:
                await _receive(stream, answer)
        return answer.take_object()

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, query: Query = (), body: Body | None = None
    ) -> AsyncIterator[AsyncIterator[Object]]:
        """Ask for any resource that answers in lines, for the length of a block.

        What it gives yields the objects as they come:

            async with client.stream("GET", "/v1/events") as events:
                async for event in events:
                    print(event)

        Args:
            method: See `ask`.
            path: See `ask`.
            query: See `ask`.
            body: See `ask`.
        """
        async with self._connected() as stream:
            answer = Answer()
            await _send(stream, render_request(method, path, query, body))
            while not answer.check_granted():
                await _receive(stream, answer)
            lines = _read_lines(stream, answer)
            try:
                yield lines
            finally:
                await lines.aclose()

    async def _list(self, request: resources.Request) -> list[Object]:
        return list_objects(await self.ask(*request), "jobs")

    async def _list_all(self, request: resources.Request) -> list[Object]:
        async with self.stream(*request) as outcomes:
            return [outcome async for outcome in outcomes]

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[trio.SocketStream]:
        if not self.path:
            raise RuntimeError("a Client is used in its 'async with' block")
        connection: socket.socket = await run_in_thread(connect, self.path)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(connection))
        self._open.add(stream)
        try:
            yield stream
        finally:
            self._open.discard(stream)
            # At once, without the pause that an orderly end of a stream is.
            stream.socket.close()


async def _read_lines(stream: trio.SocketStream, answer: Answer) -> AsyncGenerator[Object, None]:
    while True:
        for line in answer.take_lines():
            yield line
        if answer.at_end:
            return
        await _receive(stream, answer)


async def _send(stream: trio.SocketStream, request: bytes) -> None:
    # Who closes it may have said why before.
    with suppress(trio.BrokenResourceError), _while_open():
        await stream.send_all(request)


async def _receive(stream: trio.SocketStream, answer: Answer) -> None:
    data: bytes | bytearray = b""
    with suppress(trio.BrokenResourceError), _while_open():
        data = await stream.receive_some(_CHUNK)
    answer.feed_received(bytes(data))


@contextmanager
def _while_open() -> Iterator[None]:
    try:
        yield
    except trio.ClosedResourceError:
        raise NoSupervisorError("cannot ask the supervisor: the client is closed") from None
