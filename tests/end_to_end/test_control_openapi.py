"""That a supervisor answers as its OpenAPI description says, whatever it is asked."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import jsonschema_rs
import pytest

from mocker.supervisor.control.description import read_description
from tests.end_to_end.controlled import Controlled, open_controlled, read_status, render
from tests.end_to_end.successors import open_successors
from tests.loopback import open_loopback
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
JOBS = """
[jobs.web]
command = ["sh", "-c", "trap 'echo bye; exit' TERM; echo up; sleep 1000 & wait"]
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
include-path = "/health"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 503]
checks.positive_data_acceptance.expected-statuses = ["2xx", 503]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 404, 409, 413]
"""
# For a supervisor that is to go on, and who asks it one thing after the other.
ONCE = """
[[operations]]
include-path = "/v1/logs"
parameters = { follow = "0" }
"""
LIMIT_S = 120
LONG_S = 240  # with a supervisor for each of some thirty questions
FEW, MANY = 2, 20  # questions at least, to what takes no arguments, and to what does
# After one there is no other answer; the others go on until the supervisor ends, or a job does.
WITHOUT_END = ("/v1/shutdown", "/v1/events", "/v1/wait")


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Controlled]:
    with open_controlled(tmp_path, JOBS) as control:
        settle(control)
        yield control


def settle(control: Controlled) -> None:
    """Wait until all jobs are what they stay if nobody asks for something else."""
    control.run.wait_event("job.started", count=4)
    control.run.wait_event("job.exited", job="done")
    for name in ("web-1", "web-2"):
        control.run.wait_line(f"{name} | up")


class Finding(NamedTuple):
    """What came of a run of schemathesis.

    Attributes:
        text: What it has found; nothing if that.
        counts: How often it has asked for each operation that it was to ask for, and been answered.
        granted: How often it was answered that it can be so.
        lines: How many lines such answers had, where they have any.
        wrong: What is not as it is described in these lines.
    """

    text: str
    counts: Mapping[str, int]
    granted: Mapping[str, int]
    lines: Mapping[str, int]
    wrong: Sequence[str]


def run_schemathesis(
    port: int, directory: Path, *options: str, examples: int = 20, limit_s: int = LIMIT_S
) -> Finding:
    """Have it ask whatever the description lets it."""
    report = directory / "asked.har"
    result = subprocess.run(
        [
            SCHEMATHESIS,
            "run",
            f"http://127.0.0.1:{port}/v1/openapi.json",
            *options,
            f"--max-examples={examples}",
            "--request-timeout=20",
            f"--report-har-path={report}",
            "--continue-on-failure",
            "--seed=1",
            "--no-color",
        ],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    text = result.stdout + result.stderr if result.returncode else ""
    return Finding(text, *read_report(json.loads(report.read_text())))


def read_report(
    report: Mapping[str, Any],
) -> tuple[Counter[str], Counter[str], Counter[str], list[str]]:
    """Return how often each operation was asked for and granted, and what of the lines.

    It says so in the format HAR; see `Finding`. What is said of lines, schemathesis does not know.
    """
    description = read_description()
    operations = list_operations()
    counts, granted, lines, wrong = Counter[str](), Counter[str](), Counter[str](), list[str]()
    for entry in report["log"]["entries"]:
        asked = f"{entry['request']['method']} {urlsplit(entry['request']['url']).path}"
        answer = entry["response"]
        for name in operations:
            if not answer["status"] or not fnmatchcase(asked, name.replace("{name}", "*")):
                continue
            counts[name] += 1
            granted[name] += answer["status"] < 300
            if answer["content"]["mimeType"] == "application/x-ndjson":
                found = [json.loads(line) for line in answer["content"]["text"].splitlines()]
                lines[name] += len(found)
                wrong += find_mistakes(description, name, found)
    return counts, granted, lines, wrong


def find_mistakes(
    description: Mapping[str, Any], operation: str, lines: Sequence[Any]
) -> list[str]:
    """Return what is not as it is described, of the lines of an answer to an operation."""
    method, _, path = operation.partition(" ")
    answer = description["paths"][path][method.lower()]["responses"]["200"]
    if "$ref" in answer:
        answer = description["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    name = answer["content"]["application/x-ndjson"]["schema"]["x-line"]
    schema = jsonschema_rs.validator_for(
        {"$ref": f"#/components/schemas/{name}", "components": description["components"]}
    )
    return [error.message for line in lines for error in schema.iter_errors(line)]


def list_operations() -> list[str]:
    """Return all that are described, such as "GET /v1/jobs"."""
    paths = read_description()["paths"].items()
    return [f"{method.upper()} {path}" for path, methods in paths for method in methods]


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 20)
def test_whatever_is_asked_is_answered_as_it_is_described(
    control: Controlled, tmp_path: Path
) -> None:
    (tmp_path / "schemathesis.toml").write_text(ONCE + RULES)
    those = [each for each in list_operations() if each.split()[1] not in WITHOUT_END]
    # By their names: of all, it leaves out what answers the description.
    include = [f"--include-name={each}" for each in those]

    with open_loopback(control.socket) as port:
        found = run_schemathesis(port, tmp_path, *include, "--phases=examples,coverage,fuzzing")

    assert (found.text, found.wrong) == ("", [])
    assert control.run.process.poll() is None
    assert {each: found.counts[each] for each in those if found.counts[each] < FEW} == {}


@pytest.mark.slow
@pytest.mark.timeout(LONG_S + 20)
def test_whatever_ends_a_supervisor_or_goes_on_until_then_is_answered_as_it_is_described(
    tmp_path: Path,
) -> None:
    (tmp_path / "schemathesis.toml").write_text(RULES)
    ending = [each for each in list_operations() if each.split()[1] in WITHOUT_END]
    those = [*ending, "GET /v1/logs"]
    include = [f"--include-name={each}" for each in those]

    with open_successors(tmp_path, JOBS, settle) as successors:
        found = run_schemathesis(
            successors.port,
            tmp_path,
            *include,
            "--phases=examples,coverage,fuzzing",
            "--header=Connection: close",
            examples=5,
            limit_s=LONG_S,
        )

    assert (found.text, found.wrong) == ("", [])
    assert {each: found.granted[each] for each in those if found.granted[each] < FEW} == {}
    assert {each for each in those if found.lines[each]} == set(those) - {"POST /v1/shutdown"}
    assert found.counts["GET /v1/logs"] >= MANY <= found.counts["POST /v1/wait"]
    assert set(successors.statuses) == {0}  # each has ended in order
    # What is left are lines of jobs that were followed.
    assert len(successors.statuses) - sum(found.granted[each] for each in ending) >= FEW


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 20)
def test_what_must_not_be_asked_of_that_which_may_last_is_refused(
    control: Controlled, tmp_path: Path
) -> None:
    include = [f"--include-path={path}" for path in ("/v1/logs", "/v1/wait")]

    with open_loopback(control.socket) as port:
        found = run_schemathesis(
            port, tmp_path, *include, "--mode=negative", "--phases=coverage,fuzzing"
        )

    assert found.text == ""
    assert min(found.counts[each] for each in ("GET /v1/logs", "POST /v1/wait")) >= MANY
    assert set(control.read_states().values()) == {"RUNNING", "EXITED"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/events?since=1", 400),
        *[(method, "/v1/events", 405) for method in ("POST", "PUT", "DELETE", "OPTIONS", "QUERY")],
    ],
)
def test_events_that_cannot_be_meant_are_refused_as_it_is_described(
    control: Controlled, method: str, path: str, status: int
) -> None:
    # Not by schemathesis: it knows of no key that they might have.
    _, (description,) = control.ask("GET", "/v1/openapi.json")
    schema = {"$ref": "#/components/schemas/Problem", "components": description["components"]}

    found, (answer,) = control.ask(method, path)

    assert found == status
    assert [
        error.message for error in jsonschema_rs.validator_for(schema).iter_errors(answer)
    ] == []


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
    text = b"" if body is None else json.dumps(body).encode()

    lines = read_lines(control, render(method, path, text))

    assert lines
    assert find_mistakes(description, f"{method} {path.partition('?')[0]}", lines) == []


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
