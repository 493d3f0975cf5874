"""The resources of the supervisor as a whole; `end_to_end` has the commands."""

from collections.abc import Iterator

import attrs
import pytest

from mocker.supervisor.config import SupervisorConfig
from mocker.supervisor.control.peers import Peer
from mocker.supervisor.errors import ConfigError
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.control.asking import Asked, open_asked
from tests.supervisor.job_world import configure, make_means

pytestmark = [requires_user_namespaces, requires_busybox]

SLEEP = "exec sleep 1000"


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


def add_job(asked: Asked) -> None:
    """Change the file."""
    assert isinstance(asked.file, SupervisorConfig)
    jobs = {**asked.file.jobs, "new": configure(SLEEP, name="new")}
    asked.file = attrs.evolve(asked.file, log_level="debug", jobs=jobs)


async def test_reload_answers_what_has_changed(means: Means) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        add_job(asked)
        answer = await asked.ask_object("POST", "/v1/reload")
        jobs = list(asked.supervisor.jobs)

    assert answer == (
        200,
        {
            "dry_run": False,
            "added": ["new"],
            "removed": [],
            "changed": {},
            "unchanged": 1,
            "needs_restart": ["log_level"],
        },
    )
    assert jobs == ["web", "new"]


async def test_dry_run_answers_the_same_and_changes_nothing(means: Means) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        add_job(asked)
        status, answer = await asked.ask_object("GET", "/v1/reload")
        jobs = list(asked.supervisor.jobs)

    assert (status, answer["dry_run"], answer["added"]) == (200, True, ["new"])
    assert jobs == ["web"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_file_with_mistakes_is_refused_with_all_of_them(means: Means, method: str) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        asked.file = ConfigError(["jobs.toml:1: one", "jobs.toml:2: two"])
        status, answer = await asked.ask_object(method, "/v1/reload")

    assert status == 422
    assert answer["error"] == {
        "code": "config-rejected",
        "message": "the file has 2 mistakes; nothing is changed",
        "mistakes": ["jobs.toml:1: one", "jobs.toml:2: two"],
    }


async def test_reader_learns_that_a_file_has_mistakes_and_not_what_they_quote(means: Means) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        asked.file = ConfigError(["jobs.toml:1: SECRET=xyz"])
        asked.peer = Peer(1, 70_001, 70_001)
        status, answer = await asked.ask_object("GET", "/v1/reload")

    assert (status, answer["error"]["mistakes"]) == (422, [])
    assert answer["error"]["message"] == (
        "the file has 1 mistake; nothing is changed; "
        "only the supervisor's owner and root may see what they are"
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/reload", {}), ("/v1/scale", {"jobs": {"web": 2}})],
    ids=["reload", "scale"],
)
async def test_supervisor_that_stops_changes_nothing(
    means: Means, path: str, body: dict[str, object]
) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        asked.supervisor.end("the test", 0)
        await asked.supervisor.jobs["web"].wait_at_rest()
        status, answer = await asked.ask_object("POST", path, body)

    assert (status, answer["error"]["code"]) == (409, "stopping")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/reload", {"dry": True}),
        ("/v1/scale", {}),
        ("/v1/scale", {"jobs": {"web": 0}}),
        ("/v1/scale", {"jobs": {"web": True}}),
        ("/v1/scale", {"jobs": {"web": 1.5}}),
        ("/v1/scale", {"jobs": {"web": "2"}}),
        ("/v1/scale", {"jobs": {"web": 10_001}}),
        ("/v1/scale", {"jobs": ["web"]}),
        ("/v1/shutdown", {"now": True}),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    means: Means, path: str, body: dict[str, object]
) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        status, answer = await asked.ask_object("POST", path, body)
        state = asked.supervisor.jobs["web"].life.state

    assert (status, answer["error"]["code"]) == (400, "bad-request")
    assert state is State.RUNNING


async def test_effective_configuration_is_told(means: Means) -> None:
    odd = configure("echo \udcff; exec sleep 1000", start_timeout=60.0)
    async with open_asked(means, odd, configure(SLEEP, name="db")) as asked:
        status, answer = await asked.ask_object("GET", "/v1/jobs/web/config")

    assert status == 200
    assert [(job["name"], job["group"]) for job in answer["jobs"]] == [("web", "web")]
    assert answer["jobs"][0]["config"]["command"] == ["sh", "-c", "echo \udcff; exec sleep 1000"]


async def test_configuration_of_a_job_that_is_not_there_is_refused(means: Means) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        status, answer = await asked.ask_object("GET", "/v1/jobs/nope/config")

    assert (status, answer["error"]["code"]) == (404, "no-such-job")


async def test_supervisor_is_asked_to_stop_once_it_has_answered(means: Means) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        answer = await asked.ask_object("POST", "/v1/shutdown")
        await asked.supervisor.jobs["web"].wait_at_rest()

    assert answer == (202, {"name": "demo"})


async def test_metrics_are_text(means: Means) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        status, content = await asked.ask("GET", "/metrics")

    assert status == 200
    assert b'\nmocker_job_up{job="web",group="web"} 1\n' in content


async def test_description_has_the_version(means: Means) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        _, description = await asked.ask_object("GET", "/v1/openapi.json")
        _, supervisor = await asked.ask_object("GET", "/v1/supervisor")

    assert description["info"]["version"] == supervisor["version"]
