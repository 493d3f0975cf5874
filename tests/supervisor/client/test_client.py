"""What a program that runs on trio asks, over a real socket; `end_to_end` has the supervisor."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from inspect import signature
from pathlib import Path

import pytest
import trio

from mocker.supervisor.client.action_commands import COMMANDS as ACTIONS
from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.arguments import HELP, WHICH
from mocker.supervisor.client.client import Client
from mocker.supervisor.client.commands import COMMANDS
from mocker.supervisor.client.exchange import AnswerError, ProtocolError

Serve = Callable[[trio.SocketStream], Awaitable[None]]
FOR_PEOPLE = {"completion", "top"}  # see Client
METHODS = {"ps": "jobs"}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def open_client(directory: Path, serve: Serve) -> AsyncIterator[Client]:
    """Ask something that listens as a supervisor does, and answers as a test wants."""
    path = directory / "web.sock"
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(str(path))
    listener.listen(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, serve, [trio.SocketListener(listener)]))
        async with Client(str(path)) as client:
            yield client
        nursery.cancel_scope.cancel()


def answer(body: object, head: str = "200 OK", asked: list[bytes] | None = None) -> Serve:
    """Return what answers each request with an object, and lists what was asked."""

    async def serve(stream: trio.SocketStream) -> None:
        if request := await stream.receive_some():
            if asked is not None:
                asked.append(request)
            content = json.dumps(body).encode()
            size = len(content)
            await stream.send_all(
                f"HTTP/1.1 {head}\r\nContent-Length: {size}\r\n\r\n".encode() + content
            )

    return serve


def answer_lines(
    *chunks: bytes, end: bytes = b"0\r\n\r\n", asked: list[bytes] | None = None
) -> Serve:
    """Return what answers each request with lines; without an end they go on for ever."""

    async def serve(stream: trio.SocketStream) -> None:
        if request := await stream.receive_some():
            if asked is not None:
                asked.append(request)
            parts = [f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks]
            await stream.send_all(CHUNKED + b"".join(parts) + end)
            if not end:
                await trio.sleep_forever()

    return serve


def read_request(asked: list[bytes]) -> tuple[str, object]:
    """Return the method and the resource of the only request, and its body."""
    (request,) = asked
    head, _, body = request.partition(b"\r\n\r\n")
    words = head.decode().split(" ")
    return f"{words[0]} {words[1]}", json.loads(body) if body else None


async def test_answer_is_an_object(tmp_path: Path) -> None:
    async with open_client(tmp_path, answer({"name": "jobs"})) as client:
        assert await client.ask("GET", "/v1/supervisor") == {"name": "jobs"}


async def test_jobs_come_as_a_list(tmp_path: Path) -> None:
    async with open_client(tmp_path, answer({"jobs": [{"name": "web"}]})) as client:
        assert await client.jobs() == [{"name": "web"}]


async def test_answer_without_jobs_is_no_supervisor_s(tmp_path: Path) -> None:
    async with open_client(tmp_path, answer({"name": "jobs"})) as client:
        with pytest.raises(ProtocolError, match="it has no 'jobs'"):
            await client.stats("web")


async def test_refusal_says_why(tmp_path: Path) -> None:
    error = {"code": "no-such-job", "message": "there is no job 'x'", "jobs": ["x"]}

    async with open_client(tmp_path, answer({"error": error}, "404 Not Found")) as client:
        with pytest.raises(AnswerError, match="there is no job 'x'") as caught:
            await client.ask("GET", "/v1/jobs")
        with pytest.raises(AnswerError, match="there is no job 'x'"):
            await client.restart("x")

    assert (caught.value.code, caught.value.jobs) == ("no-such-job", ("x",))


async def test_outcomes_are_returned_once_all_are_known(tmp_path: Path) -> None:
    serve = answer_lines(b'{"job":"web"}\n{"jo', b'b":"db"}\n')

    async with open_client(tmp_path, serve) as client:
        outcomes = await client.stop("all", force=True)

    assert outcomes == [{"job": "web"}, {"job": "db"}]


async def test_stream_gives_objects_as_they_come(tmp_path: Path) -> None:
    async with (
        open_client(tmp_path, answer_lines(b'{"a":1}\n', end=b"")) as client,
        client.stream("GET", "/v1/events") as events,
    ):
        event = await anext(events)

    assert event == {"a": 1}


@pytest.mark.parametrize(
    ("ask", "request_line", "body"),
    [
        (lambda c: c.jobs("a b", stats=True), "GET /v1/jobs?name=a%20b&stats=1", None),
        (lambda c: c.stats("web"), "GET /v1/stats?name=web", None),
        (lambda c: c.config("web:*"), "GET /v1/jobs/web%3A%2A/config", None),
        (lambda c: c.truncate_logs("web"), "POST /v1/logs/truncate", {"jobs": ["web"]}),
        (lambda c: c.reload(dry_run=True), "GET /v1/reload", None),
        (lambda c: c.reload(), "POST /v1/reload", {}),
        (lambda c: c.shutdown(), "POST /v1/shutdown", {}),
    ],
)
async def test_question_is_one_of_the_interface(
    ask: Callable[[Client], Awaitable[object]],
    request_line: str,
    body: object,
    tmp_path: Path,
) -> None:
    asked: list[bytes] = []

    async with open_client(tmp_path, answer({"jobs": []}, asked=asked)) as client:
        await ask(client)

    assert read_request(asked) == (request_line, body)


@pytest.mark.parametrize(
    ("act", "path", "body"),
    [
        (
            lambda c: c.start("web", wait=False),
            "/v1/actions",
            {"action": "start", "jobs": ["web"], "wait": False},
        ),
        (
            lambda c: c.restart("web", rolling=True),
            "/v1/actions",
            {"action": "restart", "jobs": ["web"], "wait": True, "rolling": True},
        ),
        (
            lambda c: c.pause("web", wait=False),
            "/v1/actions",
            {"action": "pause", "jobs": ["web"], "wait": False},
        ),
        (lambda c: c.resume("web"), "/v1/actions", {"action": "resume", "jobs": ["web"]}),
        (
            lambda c: c.kill("web", wait=False),
            "/v1/actions",
            {"action": "kill", "jobs": ["web"], "wait": False},
        ),
        (
            lambda c: c.signal("HUP", "web", "db"),
            "/v1/actions",
            {"action": "signal", "jobs": ["web", "db"], "signal": "HUP"},
        ),
        (lambda c: c.scale({"web": 4}), "/v1/scale", {"jobs": {"web": 4}}),
        (
            lambda c: c.wait("web", condition="completed"),
            "/v1/wait",
            {"jobs": ["web"], "for": "completed"},
        ),
        (
            lambda c: c.wait("web", timeout_s=1.5),
            "/v1/wait",
            {"jobs": ["web"], "for": "ready", "timeout_s": 1.5},
        ),
        (lambda c: c.wait("web"), "/v1/wait", {"jobs": ["web"], "for": "ready"}),
    ],
)
async def test_what_is_wanted_is_one_of_the_interface(
    act: Callable[[Client], Awaitable[object]], path: str, body: object, tmp_path: Path
) -> None:
    asked: list[bytes] = []

    async with open_client(tmp_path, answer_lines(b'{"a":1}\n', asked=asked)) as client:
        outcomes = await act(client)

    assert (read_request(asked), outcomes) == ((f"POST {path}", body), [{"a": 1}])


@pytest.mark.parametrize(
    ("follow", "resource"),
    [
        (lambda c: c.logs(), "/v1/logs"),
        (
            lambda c: c.logs("web", count=3, since=1.5, follow=True),
            "/v1/logs?job=web&follow=1&n=3&since_s=1.500000",
        ),
        (lambda c: c.events(), "/v1/events"),
    ],
)
async def test_what_goes_on_is_one_of_the_interface(
    follow: Callable[[Client], AbstractAsyncContextManager[AsyncIterator[object]]],
    resource: str,
    tmp_path: Path,
) -> None:
    asked: list[bytes] = []

    async with (
        open_client(tmp_path, answer_lines(b'{"a":1}\n', asked=asked)) as client,
        follow(client) as lines,
    ):
        told = [line async for line in lines]

    assert (read_request(asked), told) == ((f"GET {resource}", None), [{"a": 1}])


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - FOR_PEOPLE))
def test_each_command_has_a_method_of_its_own(command: str) -> None:
    method = getattr(Client, METHODS.get(command, command), None)

    assert callable(method)


@pytest.mark.parametrize("action", ACTIONS)
def test_each_option_of_an_action_is_a_parameter_of_its_method(action: str) -> None:
    options = {
        option.names[-1] for option in ACTIONS[action]._options if option not in (WHICH, HELP)
    }

    parameters = signature(getattr(Client, action)).parameters

    assert {name.removeprefix("--").removeprefix("no-") for name in options} <= set(parameters)


async def test_end_of_a_client_ends_what_it_waits_for(tmp_path: Path) -> None:
    endless = answer_lines(b'{"a":1}\n', end=b"")

    async with trio.open_nursery() as nursery, open_client(tmp_path, endless) as client:
        came = trio.Event()

        async def follow() -> None:
            async with client.stream("GET", "/v1/events") as events:
                await anext(events)
                came.set()
                with pytest.raises(NoSupervisorError, match="the client is closed"):
                    await anext(events)

        nursery.start_soon(follow)
        await came.wait()


async def test_question_may_be_given_up(tmp_path: Path) -> None:
    async with open_client(tmp_path, answer_lines(end=b"")) as client:
        with trio.move_on_after(0.05) as limit:
            async with client.stream("GET", "/v1/events") as events:
                await anext(events)

    assert limit.cancelled_caught


async def test_answer_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    async with open_client(tmp_path, answer_lines(b'{"a":1}\n', end=b"5\r\n")) as client:
        with pytest.raises(NoSupervisorError, match="the supervisor is gone"):
            await client.start("web")


async def test_supervisor_that_hangs_up_is_gone(tmp_path: Path) -> None:
    async with open_client(tmp_path, trio.SocketStream.aclose) as client:
        with pytest.raises(NoSupervisorError, match="it is gone"):
            await client.jobs()


async def test_supervisor_that_is_not_there_is_told_at_the_beginning(tmp_path: Path) -> None:
    with pytest.raises(NoSupervisorError, match="cannot connect"):
        async with Client(str(tmp_path / "none.sock")):
            pass


async def test_client_is_of_use_only_in_its_block(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Client(str(tmp_path / "none.sock")).jobs()
