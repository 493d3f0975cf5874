"""The socket for who executes something: who is let in, and what is refused."""

import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from mocker.supervisor.config import SupervisorConfig
from mocker.supervisor.control.exec_server import ExecServer
from mocker.supervisor.control.guard import Guard
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.supervise import Supervisor
from tests.leaks import PATIENCE
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.job_world import configure, make_means, reach, surroundings, wait_for_line

pytestmark = [requires_user_namespaces, requires_busybox]

REQUEST = {"job": "web", "argv": ["sh", "-c", "exit 5"]}


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


@asynccontextmanager
async def serving(means: Means, directory: Path) -> AsyncIterator[Path]:
    """Keep a job that has said "up", and one that waits; yield the path of the socket."""
    web = configure("echo up; exec sleep 1000", **wait_for_line("up"))
    late = configure("true", name="late", depends_on={"web": "completed"})
    config = SupervisorConfig(
        path="/jobs.toml", name="demo", jobs={job.name: job for job in (web, late)}
    )

    async def abandon(_: int) -> None:
        raise AssertionError

    supervisor = Supervisor(config, means, lambda: config, abandon)
    send, signals = trio.open_memory_channel[int](1)
    async with surroundings(means) as nursery:
        guard = Guard(config.control)
        nursery.start_soon(ExecServer(str(directory), "demo", supervisor, guard).run)
        nursery.start_soon(supervisor.run, signals)
        await wait_all_tasks_blocked()
        with trio.fail_after(PATIENCE):
            await reach(supervisor.jobs["web"], State.RUNNING)
            yield directory / "demo.exec"
        supervisor.end("the test is over", 0)
        await supervisor.jobs["web"].wait_at_rest()
    send.close()


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(path))
    connection.settimeout(PATIENCE)
    return connection


async def ask(path: Path, values: object, count: int = 3) -> dict[str, object]:
    """Return the last answer to a request with so many descriptors."""

    def talk() -> dict[str, object]:
        null = os.open(os.devnull, os.O_RDWR)
        last = b"{}"
        with connect(path) as connection:
            message = values if isinstance(values, bytes) else json.dumps(values).encode()
            socket.send_fds(connection, [message], [null] * count)
            os.close(null)
            while answer := connection.recv(2**16):
                last = answer
        found: dict[str, object] = json.loads(last)
        return found

    return await trio.to_thread.run_sync(talk)


async def test_what_is_asked_for_is_executed(means: Means, tmp_path: Path) -> None:
    with capture_logs() as events:
        async with serving(means, tmp_path) as path:
            assert await ask(path, REQUEST) == {"exited": 5}

    (started,) = [event for event in events if event["event"] == "exec.started"]
    assert (started["job"], started["command"]) == ("web", "sh")


@pytest.mark.parametrize(
    ("values", "count", "code", "status"),
    [
        (b"{", 3, "bad-request", 125),
        (REQUEST, 2, "bad-request", 125),
        ({**REQUEST, "job": "wob"}, 3, "no-such-job", 125),
        ({**REQUEST, "job": "all"}, 3, "too-many-jobs", 125),
        ({**REQUEST, "job": "late"}, 3, "not-running", 125),
        ({**REQUEST, "argv": ["nosuch"]}, 3, "cannot-execute", 127),
        ({**REQUEST, "workdir": "here"}, 3, "cannot-execute", 2),
    ],
)
async def test_what_is_not_executed_is_an_error(
    means: Means, tmp_path: Path, values: object, count: int, code: str, status: int
) -> None:
    async with serving(means, tmp_path) as path:
        answer = await ask(path, values, count)

    error = answer["error"]
    assert isinstance(error, dict)
    assert (error["code"], answer["exit_code"]) == (code, status)


async def test_who_says_nothing_is_told_so_and_not_kept(
    means: Means, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mocker.supervisor.control.exec_server._SILENCE_S", 0.05)
    async with serving(means, tmp_path) as path:
        with connect(path) as silent:
            answer = await trio.to_thread.run_sync(silent.recv, 1000)
            end = await trio.to_thread.run_sync(silent.recv, 1000)

    assert json.loads(answer)["error"]["code"] == "too-slow"
    assert end == b""


async def test_who_leaves_without_a_word_is_told_nothing(means: Means, tmp_path: Path) -> None:
    async with serving(means, tmp_path) as path:
        with connect(path) as leaving:
            leaving.shutdown(socket.SHUT_WR)
            assert await trio.to_thread.run_sync(leaving.recv, 1000) == b""


async def test_oldest_that_has_not_asked_makes_place(
    means: Means, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mocker.supervisor.control.exec_server._MOST", 2)
    async with serving(means, tmp_path) as path:
        with connect(path) as first, connect(path) as second:
            answer = await ask(path, REQUEST)
            told = await trio.to_thread.run_sync(first.recv, 1000)
            ended = await trio.to_thread.run_sync(first.recv, 1000)
            second.send(b"{")
            other = await trio.to_thread.run_sync(second.recv, 1000)

    assert (answer, ended) == ({"exited": 5}, b"")
    assert json.loads(told)["error"]["code"] == "busy"
    assert b"no JSON" in other


async def test_who_had_to_make_place_is_not_executed(
    means: Means, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mocker.supervisor.control.exec_server._MOST", 1)
    null, answers = os.open(os.devnull, os.O_RDWR), list[bytes]()
    with capture_logs() as events:
        async with serving(means, tmp_path) as path:
            for _ in range(5):
                # Both ask before either is looked at.
                with connect(path) as first, connect(path) as second:
                    for connection in (first, second):
                        socket.send_fds(connection, [json.dumps(REQUEST).encode()], [null] * 3)
                    for connection in (first, second):
                        answers.append(await trio.to_thread.run_sync(connection.recv, 1000))
    os.close(null)

    started = [event["event"] for event in events].count("exec.started")
    assert started + sum(b'"error"' in answer for answer in answers) == len(answers)


async def test_others_than_the_owner_are_refused(
    means: Means, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse: Callable[[object], bool] = lambda _: False  # noqa: E731
    monkeypatch.setattr("mocker.supervisor.control.peers.Peer.may_do_all", property(refuse))
    with capture_logs() as events:
        async with serving(means, tmp_path) as path:
            answers = list[dict[str, object]]()
            for _ in range(3):
                with connect(path) as connection:
                    answer = await trio.to_thread.run_sync(connection.recv, 1000)
                    answers.append(json.loads(answer)["error"])

    assert [answer["code"] for answer in answers] == ["not-allowed"] * 3
    # As of all who are refused, once a minute.
    assert [event["event"] for event in events].count("control.refused") == 1


async def test_that_there_is_no_socket_is_said(means: Means, tmp_path: Path) -> None:
    config = SupervisorConfig(path="/jobs.toml", name="demo", jobs={})

    async def abandon(_: int) -> None:
        raise AssertionError

    supervisor = Supervisor(config, means, lambda: config, abandon)
    with capture_logs() as events:
        guard = Guard(config.control)
        await ExecServer(str(tmp_path / "nowhere"), "demo", supervisor, guard).run()

    assert [event["event"] for event in events] == ["control.unavailable"]
    assert "(ENOENT)" in events[0]["reason"]


async def test_socket_that_listens_already_is_taken_and_left_where_it_is(
    means: Means, tmp_path: Path
) -> None:
    path = tmp_path / "demo.exec"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(path))
    listening.listen()
    before = path.stat().st_ino
    config = SupervisorConfig(path="/jobs.toml", name="demo", jobs={})

    async def abandon(_: int) -> None:
        raise AssertionError

    supervisor = Supervisor(config, means, lambda: config, abandon)
    async with trio.open_nursery() as nursery:
        guard = Guard(config.control)
        server = ExecServer(str(tmp_path), "demo", supervisor, guard, listening)
        nursery.start_soon(server.run)
        answer = await ask(path, {"job": "web", "argv": ["true"]})
        nursery.cancel_scope.cancel()

    assert "there is no job 'web'" in str(answer)
    assert path.stat().st_ino == before
