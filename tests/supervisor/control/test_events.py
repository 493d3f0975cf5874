from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.control.served import Served, make_served

pytestmark = [requires_user_namespaces, requires_busybox]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with make_served(tmp_path, "web", "db") as served:
        yield served


def shorten(told: list[dict[str, object]]) -> list[tuple[object, object, object]]:
    return [(each["event"], each["job"], each["state"]) for each in told]


async def test_all_jobs_are_told_and_then_each_change(served: Served) -> None:
    async with served.serve(), served.ask("/v1/events") as asked:
        before = await asked.read(2)
        served.supervisor.jobs["db"].start()
        served.supervisor.jobs["db"].stop()
        after = await asked.read(2)

    assert shorten(before + after) == [
        ("snapshot", "web", "STOPPED"),
        ("snapshot", "db", "STOPPED"),
        ("change", "db", "STARTING"),
        ("change", "db", "STOPPING"),
    ]


async def test_answer_ends_with_the_supervisor(served: Served) -> None:
    async with served.serve(), served.ask("/v1/events") as asked:
        await asked.read(2)
        served.supervisor.jobs["db"].start()
        served.supervisor.changes.end()
        status, told = await asked.read_all()

    assert (status, shorten(told)) == (200, [("change", "db", "STARTING")])


async def test_one_that_goes_away_leaves_nothing(served: Served) -> None:
    async with served.serve():
        async with served.ask("/v1/events") as asked:
            await asked.read(2)

        await served.wait_idle()

        assert not served.supervisor.changes._watchers


async def test_what_cannot_be_meant_is_refused(served: Served) -> None:
    async with served.serve(), served.ask("/v1/events", ("job", "web")) as asked:
        status, _ = await asked.read_all()

    assert status == 400
