"""Somebody at the terminal of a job, from the side of the supervisor."""

import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from mocker.supervisor.config import CONSOLE, JobConfig
from mocker.supervisor.control.attachment import attach
from mocker.supervisor.control.problems import RequestError
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from tests.leaks import PATIENCE
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.job_world import configure, make_means, reach, surroundings, wait_for_line

pytestmark = [requires_user_namespaces, requires_busybox]

# It answers each line that is typed until it is told to end.
ANSWERING = """\
echo up
while read -r line; do
    [ "$line" != end ] || exit 7
    [ "$line" != kill ] || kill -9 $$
    echo "got $line"
done
"""


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


def on_terminal(script: str = ANSWERING) -> JobConfig:
    """Return a job with a terminal."""
    fields = {"tty": True, "channels": {"output": (CONSOLE,)}, "restart": "never"}
    return configure(script, **fields, **wait_for_line("up"))


@asynccontextmanager
async def running(config: JobConfig, means: Means) -> AsyncIterator[Job]:
    async def wait_for_nothing(_: JobConfig) -> str:
        return ""

    job = Job(config, means, wait_for_nothing, lambda _: None)
    async with surroundings(means) as nursery:
        nursery.start_soon(job.run)
        job.start()
        with trio.fail_after(PATIENCE):
            await reach(job, State.RUNNING)
            yield job
            job.kill()
            await job.wait_at_rest()


@attrs.frozen
class Client:
    """Who is attached.

    Attributes:
        connection: To the supervisor.
        stream: What is printed and typed.
        done: Set once the supervisor is done with them.
    """

    connection: trio.socket.SocketType
    stream: trio.SocketStream
    done: trio.Event

    async def wait_for(self, text: bytes) -> bytes:
        """Wait until something is shown, and return what is shown by then."""
        shown = b""
        while text not in shown:
            part = await self.stream.receive_some()
            assert part, shown
            shown += part
        return shown

    async def tell(self, values: object) -> None:
        """Send a message."""
        await self.connection.send(json.dumps(values).encode())

    async def read_message(self) -> object:
        """Return the next message."""
        return json.loads(await self.connection.recv(1000))


@asynccontextmanager
async def attached(job: Job) -> AsyncIterator[Client]:
    ours, theirs = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    done = trio.Event()

    async def run() -> None:
        try:
            await attach(ours, job)
        except RequestError as error:
            await ours.send(json.dumps(error.render()).encode())
        done.set()

    with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            message, parts, _, _ = await theirs.recvmsg(1000, socket.CMSG_LEN(4))
            assert json.loads(message)["started"] == job.pid
            fd = int.from_bytes(parts[0][2], "little")
            async with trio.SocketStream(trio.socket.socket(fileno=fd)) as stream:
                yield Client(theirs, stream, done)
            theirs.close()


async def test_what_is_typed_arrives_and_what_is_printed_is_shown(means: Means) -> None:
    async with running(on_terminal(), means) as job, attached(job) as client:
        await client.stream.send_all(b"hello\n")

        assert await client.wait_for(b"got hello\r\n") == b"hello\r\ngot hello\r\n"


async def test_job_that_a_key_stops_goes_on(means: Means) -> None:
    async with running(on_terminal(), means) as job, attached(job) as client:
        for _ in range(2):
            await client.stream.send_all(b"\x1a")
            await client.wait_for(b"^Z")
        await client.stream.send_all(b"hello\n")

        await client.wait_for(b"got hello\r\n")


@pytest.mark.parametrize(("word", "ending"), [("end", {"exited": 7}), ("kill", {"killed": 9})])
async def test_end_of_the_job_ends_it_and_is_told(
    means: Means, word: str, ending: dict[str, int]
) -> None:
    async with running(on_terminal(), means) as job, attached(job) as client:
        await client.stream.send_all(word.encode() + b"\n")

        assert await client.read_message() == ending
        assert await client.wait_for(b"\r\n") == word.encode() + b"\r\n"
        assert await client.stream.receive_some() == b""


async def test_job_goes_on_when_somebody_leaves_and_has_what_was_typed(means: Means) -> None:
    async with running(on_terminal(), means) as job, attached(job) as other:
        async with attached(job) as client:
            await client.stream.send_all(b"last\n")
        await client.done.wait()

        assert b"got last" in await other.wait_for(b"got last\r\n")
        assert job.life.state is State.RUNNING


async def test_size_is_that_of_who_told_it_last(means: Means) -> None:
    telling = on_terminal("trap 'stty size' WINCH; echo up; while :; do read line; done")
    async with running(telling, means) as job, attached(job) as one, attached(job) as two:
        await one.tell({"size": [30, 100]})
        await one.wait_for(b"30 100\r\n")
        await two.tell({"size": [40, 120]})

        assert b"40 120" in await one.wait_for(b"40 120\r\n")


async def test_job_is_told_to_draw_its_screen_for_who_is_new(means: Means) -> None:
    telling = on_terminal("trap 'stty size' WINCH; echo up; while :; do read line; done")
    async with running(telling, means) as job, attached(job) as client:
        await client.tell({"size": [24, 80]})  # as it is already

        await client.wait_for(b"24 80\r\n")


async def test_message_that_cannot_be_meant_ends_it(means: Means) -> None:
    async with running(on_terminal(), means) as job, attached(job) as client:
        await client.tell({"size": ["wide"]})
        message = await client.read_message()
        await client.done.wait()

    assert isinstance(message, dict)
    assert message["error"]["code"] == "bad-request"


async def test_who_takes_nothing_is_told_that_they_are_detached(
    means: Means, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mocker.supervisor.pseudoterminal.STALL_S", 0.05)
    printing = on_terminal("echo up; read -r line; yes")
    async with running(printing, means) as job, attached(job) as client:
        await client.stream.send_all(b"go\n")
        message = await client.read_message()

    assert isinstance(message, dict)
    assert message["error"]["code"] == "stalled"
    assert "detached from web, which goes on: nothing was taken" in message["error"]["message"]


async def test_who_leaves_while_the_job_reads_nothing_is_not_waited_for(means: Means) -> None:
    async with running(on_terminal("stty raw; echo up; sleep 1000"), means) as job:
        async with attached(job) as client:
            with trio.move_on_after(0.1):
                await client.stream.send_all(b"x" * 1_000_000)
        await client.done.wait()

        assert job.life.state is State.RUNNING


async def test_job_without_a_terminal_is_refused(means: Means) -> None:
    config = configure("echo up; sleep 1000", **wait_for_line("up"))
    async with running(config, means) as job:
        with trio.socket.socket() as connected, pytest.raises(RequestError) as caught:
            await attach(connected, job)

    assert str(caught.value) == "cannot attach to web: it has no terminal; set tty = true"


async def test_job_that_does_not_run_is_refused(means: Means) -> None:
    async with running(on_terminal(), means) as job:
        job.kill()
        await job.wait_at_rest()
        with trio.socket.socket() as connected, pytest.raises(RequestError) as caught:
            await attach(connected, job)

    assert str(caught.value) == "cannot attach to web: it does not run, it is STOPPED"
