"""That who asks and what is described mean the same; `end_to_end` has who answers."""

import inspect
import re
from typing import Any

import pytest

from mocker.supervisor.client import resources
from mocker.supervisor.client.resources import Request
from mocker.supervisor.control.description import read_description

EACH = [
    ("getSupervisor", resources.get_supervisor(), ("GET", "/v1/supervisor", (), None)),
    ("listJobs", resources.list_jobs(), ("GET", "/v1/jobs", [], None)),
    (
        "listJobs",
        resources.list_jobs(["web", "db-*"], stats=True),
        ("GET", "/v1/jobs", [("name", "web"), ("name", "db-*"), ("stats", "1")], None),
    ),
    ("listFigures", resources.list_figures(["w"]), ("GET", "/v1/stats", [("name", "w")], None)),
    ("getConfig", resources.get_config("a/b"), ("GET", "/v1/jobs/a%2Fb/config", (), None)),
    ("getLogs", resources.get_logs([]), ("GET", "/v1/logs", [], None)),
    (
        "getLogs",
        resources.get_logs(["web"], count=0, since_s=0, follow=True),
        (
            "GET",
            "/v1/logs",
            [("job", "web"), ("follow", "1"), ("n", "0"), ("since_s", "0.000000")],
            None,
        ),
    ),
    (
        "truncateLogs",
        resources.truncate_logs(("web",)),
        ("POST", "/v1/logs/truncate", (), {"jobs": ["web"]}),
    ),
    ("followEvents", resources.follow_events(), ("GET", "/v1/events", (), None)),
    (
        "act",
        resources.act("kill", ("web",)),
        ("POST", "/v1/actions", (), {"action": "kill", "jobs": ["web"]}),
    ),
    (
        "act",
        resources.act("stop", ["all"], wait=False, force=True),
        (
            "POST",
            "/v1/actions",
            (),
            {"action": "stop", "jobs": ["all"], "wait": False, "force": True},
        ),
    ),
    (
        "act",
        resources.act("restart", ["web"], wait=True, rolling=True),
        (
            "POST",
            "/v1/actions",
            (),
            {"action": "restart", "jobs": ["web"], "wait": True, "rolling": True},
        ),
    ),
    (
        "act",
        resources.act("signal", ["web"], signal="HUP"),
        ("POST", "/v1/actions", (), {"action": "signal", "jobs": ["web"], "signal": "HUP"}),
    ),
    (
        "wait",
        resources.wait(("web",), "ready"),
        ("POST", "/v1/wait", (), {"jobs": ["web"], "for": "ready"}),
    ),
    (
        "wait",
        resources.wait(["web"], "stopped", 0),
        ("POST", "/v1/wait", (), {"jobs": ["web"], "for": "stopped", "timeout_s": 0}),
    ),
    ("scale", resources.scale({"web": 4}), ("POST", "/v1/scale", (), {"jobs": {"web": 4}})),
    ("reload", resources.reload(), ("POST", "/v1/reload", (), {})),
    ("planReload", resources.plan_reload(), ("GET", "/v1/reload", (), None)),
    ("shutDown", resources.shut_down(), ("POST", "/v1/shutdown", (), {})),
]


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return read_description()


def follow(description: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Return a part of the description, or the one that it refers to."""
    if "$ref" not in part:
        return part
    for name in part["$ref"].split("/")[1:]:
        description = description[name]
    return description


def list_keys(description: dict[str, Any], operation: dict[str, Any]) -> set[str]:
    """Return what may be in the body of a question."""
    schema = follow(description, operation["requestBody"]["content"]["application/json"]["schema"])
    return {key for each in schema.get("oneOf", [schema]) for key in each.get("properties", {})}


@pytest.mark.parametrize(("_", "asked", "expected"), EACH)
def test_question_says_what_is_wanted_and_nothing_else(
    _: str, asked: Request, expected: Request
) -> None:
    assert asked == expected


@pytest.mark.parametrize(("name", "asked", "_"), EACH)
def test_question_is_one_that_is_described(
    name: str, asked: Request, _: Request, description: dict[str, Any]
) -> None:
    method, path, query, body = asked

    (template,) = (
        template
        for template, operations in description["paths"].items()
        if operations.get(method.lower(), {}).get("operationId") == name
    )
    operation = description["paths"][template][method.lower()]
    parameters = [follow(description, each) for each in operation.get("parameters", ())]

    assert re.fullmatch(re.sub("{[a-z]+}", "[^/]+", template), path)
    assert {key for key, _ in query} <= {each["name"] for each in parameters}
    assert (body is None) == ("requestBody" not in operation)
    assert body is None or set(body) <= list_keys(description, operation)


def test_each_question_is_called_as_what_it_asks_for() -> None:
    functions = {
        re.sub("_([a-z])", lambda found: found[1].upper(), name)
        for name, function in inspect.getmembers(resources, inspect.isfunction)
        if function.__module__ == resources.__name__
    }

    assert functions == {name for name, _, _ in EACH}
