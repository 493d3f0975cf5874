"""The resources, and what each answers."""

import json
import os
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock

from mocker.supervisor.client.exchange import Answer
from mocker.supervisor.config import ControlConfig
from mocker.supervisor.control.guard import Guard
from mocker.supervisor.control.http_service import HttpService
from mocker.supervisor.lifecycle import State
from mocker.supervisor.supervise import Supervisor
from tests.supervisor.control.control_world import Puppet, make_supervisor, read_all, served


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with make_supervisor("web", "db") as supervisor:
        yield supervisor


async def ask(
    supervisor: Supervisor, method: str, path: str, body: object = None
) -> tuple[int, str]:
    """Return the status and the body of an answer."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.0\r\nContent-Length: {len(content)}\r\n\r\n"
    async with served(HttpService(supervisor, Guard(ControlConfig()))) as stream:
        await stream.send_all(head.encode() + content)
        answer = (await read_all(stream)).decode()
    head, _, text = answer.partition("\r\n\r\n")
    return int(head.split()[1]), text


def bring(supervisor: Supervisor, name: str, state: State) -> None:
    job = supervisor.jobs[name]
    assert isinstance(job, Puppet)
    job.bring(state)


async def test_supervisor_says_who_it_is(supervisor: Supervisor) -> None:
    status, text = await ask(supervisor, "GET", "/v1/supervisor")

    values = json.loads(text)
    assert (status, values["name"], values["path"]) == (200, "jobs", "/jobs.toml")


async def test_all_jobs_are_listed(supervisor: Supervisor) -> None:
    status, text = await ask(supervisor, "GET", "/v1/jobs")

    assert (status, [job["name"] for job in json.loads(text)["jobs"]]) == (200, ["web", "db"])


async def test_jobs_that_are_named_are_listed(supervisor: Supervisor) -> None:
    _, text = await ask(supervisor, "GET", "/v1/jobs?name=d*&name=db")

    assert [job["name"] for job in json.loads(text)["jobs"]] == ["db"]


@pytest.mark.parametrize("query", ["", "?stats=1"])
async def test_who_asks_for_the_same_within_a_moment_is_told_the_same(
    supervisor: Supervisor, mock_clock: MockClock, query: str
) -> None:
    bring(supervisor, "web", State.RUNNING)
    supervisor.jobs["web"].pid = os.getpid()
    request = f"GET /v1/jobs{query} HTTP/1.1\r\nHost: mocker\r\n"
    uptimes = []

    async with served(HttpService(supervisor, Guard(ControlConfig()))) as stream:
        for end in ("\r\n", "Connection: close\r\n\r\n"):
            await stream.send_all((request + end).encode())
            answer = Answer()
            while not answer.at_end:
                answer.feed(await stream.receive_some())
            uptimes.append(json.loads(answer.take_body())["jobs"][0]["uptime_s"])
            mock_clock.jump(0.005)

    assert uptimes == [0, 0]


@pytest.mark.parametrize(
    ("state", "status", "unwell"), [(State.RUNNING, 200, ["db"]), (State.FATAL, 503, ["web", "db"])]
)
async def test_health_is_that_of_all_jobs(
    supervisor: Supervisor, state: State, status: int, unwell: list[str]
) -> None:
    bring(supervisor, "web", state)
    if status == 200:
        bring(supervisor, "db", State.EXITED)
        unwell = []

    answered, text = await ask(supervisor, "GET", "/health")

    assert (answered, json.loads(text)) == (status, {"ok": not unwell, "jobs": unwell})


async def test_rolling_restart_is_told_as_lines(supervisor: Supervisor) -> None:
    bring(supervisor, "web", State.RUNNING)
    supervisor.jobs["web"].retire()

    body = {"action": "restart", "jobs": ["web"], "rolling": True}
    status, text = await ask(supervisor, "POST", "/v1/actions", body)

    assert (status, json.loads(text)["outcome"]) == (200, "not restarted")


@pytest.mark.parametrize("more", [{"action": "stop"}, {"action": "restart", "wait": False}])
async def test_only_a_restart_that_is_waited_for_is_rolling(
    supervisor: Supervisor, more: dict[str, object]
) -> None:
    body = {"jobs": ["web"], "rolling": True, **more}
    status, text = await ask(supervisor, "POST", "/v1/actions", body)

    assert (status, json.loads(text)["error"]["message"]) == (
        400,
        "'rolling' is for a restart that is waited for",
    )


async def test_outcomes_are_lines(supervisor: Supervisor) -> None:
    bring(supervisor, "web", State.RUNNING)

    body = {"action": "start", "jobs": ["all"], "wait": False}
    status, text = await ask(supervisor, "POST", "/v1/actions", body)

    assert status == 200
    assert [json.loads(line) for line in text.splitlines()] == [
        {"job": "web", "outcome": "already started", "ok": True, "reason": "", "last_lines": []},
        {"job": "db", "outcome": "starting", "ok": True, "reason": "", "last_lines": []},
    ]


async def test_outcome_is_told_as_soon_as_it_is_known(supervisor: Supervisor) -> None:
    content = b'{"action": "start", "jobs": ["all"]}'
    head = b"POST /v1/actions HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(content)
    seen = bytearray()

    async with served(HttpService(supervisor, Guard(ControlConfig()))) as stream:
        await stream.send_all(head + content)
        with trio.fail_after(5):
            while b"\r\n\r\n" not in seen:
                seen += await stream.receive_some()
            web = supervisor.jobs["web"]
            assert isinstance(web, Puppet)
            web.become_ready()
            while not seen.endswith(b"\n") or b'"job":"web"' not in seen:
                seen += await stream.receive_some()

    assert b'"job":"db"' not in seen


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "no-such-resource"),
        ("GET", "/v1/jobs/", 404, "no-such-resource"),
        ("DELETE", "/v1/jobs", 405, "no-such-method"),
        ("GET", "/v1/jobs?nmae=web", 400, "bad-request"),
        ("GET", "/v1/jobs?name=wbe", 404, "no-such-job"),
        ("POST", "/v1/actions", 400, "bad-request"),
    ],
)
async def test_what_is_refused_has_a_code(
    supervisor: Supervisor, method: str, path: str, status: int, code: str
) -> None:
    answered, text = await ask(supervisor, method, path)

    assert (answered, json.loads(text)["error"]["code"]) == (status, code)
