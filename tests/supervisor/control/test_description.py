"""That what is described is what there is, and the other way round."""

import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, get_args

import attrs
import pytest
from starlette.routing import Route

from mocker.supervisor.config import SupervisorConfig
from mocker.supervisor.control.actions import ACTIONS, Outcome
from mocker.supervisor.control.app import Resources
from mocker.supervisor.control.description import read_description
from mocker.supervisor.control.problems import Code
from mocker.supervisor.lifecycle import State
from mocker.supervisor.reload import Difference
from mocker.supervisor.supervise import Supervisor
from tests.supervisor.job_world import make_means

_CONVERTER = re.compile(r":[a-z]+}")


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return read_description()


@pytest.fixture
def routes() -> Iterator[list[Route]]:
    async def abandon(_: int) -> None:
        pass

    with make_means() as means:
        config = SupervisorConfig(path="/jobs.toml", name="demo", jobs={})
        app = Resources(Supervisor(config, means, lambda: config, abandon)).make_app()
        yield [route for route in app.routes if isinstance(route, Route)]


def test_it_is_of_openapi_3_1(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1.")


def test_each_resource_is_described_and_there_is_no_other(
    description: dict[str, Any], routes: list[Route]
) -> None:
    there = {
        (_CONVERTER.sub("}", route.path), method.lower())
        for route in routes
        for method in (route.methods or set()) - {"HEAD"}
    }

    described = {
        (path, method) for path, methods in description["paths"].items() for method in methods
    }

    assert described == there


def test_each_reference_leads_somewhere(description: dict[str, Any]) -> None:
    for reference in re.findall(r"'\$ref': '#/(.*?)'", str(description)):
        place = description
        for part in reference.split("/"):
            place = place[part]


def test_nothing_is_described_that_is_not_referred_to(description: dict[str, Any]) -> None:
    text = str(description)

    unused = [
        name
        for kind in description["components"].values()
        for name in kind
        if f"/{name}'" not in text and f"'{name}'}}" not in text
    ]

    assert unused == []


def test_operations_have_names_of_their_own(description: dict[str, Any]) -> None:
    names = [
        operation["operationId"]
        for methods in description["paths"].values()
        for operation in methods.values()
    ]

    assert len(set(names)) == len(names)


def test_words_that_values_have_are_described(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]

    assert schemas["State"]["enum"] == [state.value for state in State]
    actions = [kind["properties"]["action"]["enum"] for kind in schemas["Action"]["oneOf"]]
    assert set(chain(*actions)) == set(ACTIONS)
    assert list(schemas["Outcome"]["properties"]) == [f.name for f in attrs.fields(Outcome)]
    problem = schemas["Problem"]["properties"]["error"]
    assert problem["properties"]["code"]["enum"] == list(get_args(Code))
    changes = [field.name for field in attrs.fields(Difference)]
    assert list(schemas["Changes"]["properties"]) == ["dry_run", *changes]
