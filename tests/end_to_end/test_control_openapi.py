"""That a supervisor answers as its OpenAPI description says, whatever it is asked."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.end_to_end.controlled import Controlled, open_controlled, read_status, render
from tests.loopback import open_loopback
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
JOBS = """
[jobs.web]
command = "sleep 1000"
replicas = 2
[jobs.db]
command = "sleep 1000"
grace = 0
[jobs.done]
command = "echo done"
type = "oneshot"
"""
# Nobody is well where everything was stopped.
# What is described may still be of no job that there is, of one that is needed, or too much of it.
RULES = """
[[operations]]
include-path = "/v1/logs"
parameters = { follow = "0" }
[[operations]]
include-path = "/health"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 503]
checks.positive_data_acceptance.expected-statuses = ["2xx", 503]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 404, 409, 413]
"""
LIMIT_S = 120
# After one there is no other answer; the others go on until the supervisor ends, or a job does.
WITHOUT_END = ("/v1/shutdown", "/v1/events", "/v1/wait")


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Controlled]:
    with open_controlled(tmp_path, JOBS) as control:
        control.run.wait_event("job.started", count=4)
        control.run.wait_event("job.exited", job="done")
        yield control


def run_schemathesis(control: Controlled, directory: Path, *options: str) -> str:
    """Have it ask whatever the description lets it; return what it has found, nothing if that."""
    with open_loopback(control.socket) as port:
        result = subprocess.run(
            [
                SCHEMATHESIS,
                "run",
                f"http://127.0.0.1:{port}/v1/openapi.json",
                *options,
                "--max-examples=20",
                "--request-timeout=20",
                "--continue-on-failure",
                "--seed=1",
                "--no-color",
            ],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    return result.stdout + result.stderr if result.returncode else ""


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 20)
def test_whatever_is_asked_is_answered_as_it_is_described(
    control: Controlled, tmp_path: Path
) -> None:
    (tmp_path / "schemathesis.toml").write_text(RULES)
    exclude = [f"--exclude-path={path}" for path in WITHOUT_END]

    found = run_schemathesis(control, tmp_path, *exclude, "--phases=examples,coverage,fuzzing")

    assert found == ""
    assert control.run.process.poll() is None


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 20)
def test_what_must_not_be_asked_of_that_which_may_last_is_refused(
    control: Controlled, tmp_path: Path
) -> None:
    include = [f"--include-path={path}" for path in ("/v1/logs", "/v1/wait")]

    found = run_schemathesis(
        control, tmp_path, *include, "--mode=negative", "--phases=coverage,fuzzing"
    )

    assert found == ""
    assert set(control.read_states().values()) == {"RUNNING", "EXITED"}


def read_lines(control: Controlled, request: bytes) -> list[Any]:
    """Return the objects that are answered, one a line, until the supervisor ends."""
    with control.connect() as connection, connection.makefile("rb") as answer:
        connection.sendall(request)
        assert answer.readline().startswith(b"HTTP/1.1 200")
        for name in ("web-1", "done"):
            assert control.mocker("restart", name).returncode == 0
        control.run.terminate()
        # Between the lines of JSON are those of HTTP: its head, and the sizes of chunks.
        return [json.loads(line) for line in answer if line.startswith(b"{")]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/events", None),
        ("GET", "/v1/logs?follow=1", None),
        ("POST", "/v1/wait", {"jobs": ["all"], "for": "stopped"}),
        ("POST", "/v1/wait", {"jobs": ["all"], "for": "completed", "timeout_s": 0.5}),
    ],
)
def test_each_line_of_an_answer_without_an_end_is_as_it_is_described(
    control: Controlled, method: str, path: str, body: object
) -> None:
    _, (description,) = control.ask("GET", "/v1/openapi.json")
    operation = description["paths"][path.partition("?")[0]][method.lower()]
    (content,) = operation["responses"]["200"]["content"].values()
    name = content["schema"]["x-line"]
    schema = jsonschema_rs.validator_for(
        {"$ref": f"#/components/schemas/{name}", "components": description["components"]}
    )
    text = b"" if body is None else json.dumps(body).encode()

    lines = read_lines(control, render(method, path, text))

    assert lines
    assert [error.message for line in lines for error in schema.iter_errors(line)] == []


@pytest.mark.parametrize("body", [b"0", b"null", b"[]", b'{"wait": true}', b"{", b'"now"'])
def test_shutdown_that_cannot_be_meant_is_refused(control: Controlled, body: bytes) -> None:
    answer = control.say(render("POST", "/v1/shutdown", body))

    assert read_status(answer) == 400
    assert set(control.read_states().values()) == {"RUNNING", "EXITED"}


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_shutdown_is_answered_as_it_is_described(control: Controlled, body: bytes) -> None:
    _, (description,) = control.ask("GET", "/v1/openapi.json")
    schema = description["paths"]["/v1/shutdown"]["post"]["responses"]["202"]["content"]

    status, (answer,) = control.ask("POST", "/v1/shutdown", json.loads(body) if body else None)

    assert status == 202
    assert jsonschema_rs.is_valid(schema["application/json"]["schema"], answer)
    assert control.run.wait_exit() == 0
