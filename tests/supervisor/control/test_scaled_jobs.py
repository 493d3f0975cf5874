"""What is answered to who wants another number of replicas."""

from collections.abc import Iterator

import pytest

from mocker.supervisor.config import JobConfig
from mocker.supervisor.runs import Means
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.control.asking import open_asked
from tests.supervisor.job_world import configure, make_means, wait_for_line

pytestmark = [requires_user_namespaces, requires_busybox]

SLEEP = "exec sleep 1000"


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


def make_replicas(count: int, script: str = SLEEP, **fields: object) -> list[JobConfig]:
    names = [f"web-{n}" for n in range(1, count + 1)]
    return [configure(script, name=name, group="web", **fields) for name in names]


async def test_replicas_that_come_are_told_once_they_run(means: Means) -> None:
    async with open_asked(means, *make_replicas(1)) as asked:
        lines = await asked.ask_lines("/v1/scale", {"jobs": {"web": 3}})

    assert sorted(line["job"] for line in lines) == ["web-2", "web-3"]
    assert {line["outcome"] for line in lines} == {"started"}
    assert all(line["ok"] for line in lines)


async def test_replicas_that_go_are_told_once_they_are_gone(means: Means) -> None:
    async with open_asked(means, *make_replicas(3)) as asked:
        lines = await asked.ask_lines("/v1/scale", {"jobs": {"web": 1}})
        left = list(asked.supervisor.jobs)

    assert [line["job"] for line in lines] == ["web-2", "web-3"]
    assert {line["outcome"] for line in lines} == {"removed"}
    assert left == ["web-1"]


async def test_replica_that_does_not_start_is_told(means: Means) -> None:
    script = '[ "$(hostname)" = web-1 ] && echo ready && exec sleep 1000; exit 3'
    replicas = make_replicas(1, script, restart="never", **wait_for_line("ready"))
    async with open_asked(means, *replicas) as asked:
        lines = await asked.ask_lines("/v1/scale", {"jobs": {"web": 2}})

    reason = "it ended: exit code 3"
    failed = {"job": "web-2", "outcome": "not started", "ok": False, "reason": reason}
    assert lines == [{**failed, "last_lines": []}]


async def test_replica_that_completes_is_told(means: Means) -> None:
    never = wait_for_line("ready")
    replicas = make_replicas(1, "exit 0", kind="oneshot", restart="never", **never)
    async with open_asked(means, *replicas, configure(SLEEP, name="other")) as asked:
        lines = await asked.ask_lines("/v1/scale", {"jobs": {"web": 2}})

    assert [(line["outcome"], line["ok"]) for line in lines] == [("completed", True)]


async def test_replica_that_the_clock_starts_is_added(means: Means) -> None:
    replicas = make_replicas(1, kind="oneshot", restart="never", schedule="0 0 1 1 *")
    async with open_asked(means, *replicas) as asked:
        lines = await asked.ask_lines("/v1/scale", {"jobs": {"web": 2}})

    assert [(line["outcome"], line["ok"]) for line in lines] == [("added", True)]


async def test_number_that_is_there_already_has_no_outcome(means: Means) -> None:
    async with open_asked(means, *make_replicas(2)) as asked:
        lines = await asked.ask_lines("/v1/scale", {"jobs": {"web": 2}})

    assert lines == []


@pytest.mark.parametrize(
    ("jobs", "refusal"),
    [
        ({"nope": 2}, (404, "no-such-job", ["nope"])),
        ({"db": 2}, (409, "cannot-scale", ["db"])),
    ],
)
async def test_number_that_cannot_be_is_refused(
    means: Means, jobs: dict[str, int], refusal: tuple[int, str, list[str]]
) -> None:
    async with open_asked(means, configure(SLEEP, name="db")) as asked:
        status, answer = await asked.ask_object("POST", "/v1/scale", {"jobs": jobs})

    assert (status, answer["error"]["code"], answer["error"]["jobs"]) == refusal
