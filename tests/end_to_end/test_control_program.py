"""What a program that runs on trio does with a real supervisor; `mocker top` shows lines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mocker.supervisor import Client
from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.supervised import Supervised, open_supervisor
from tests.end_to_end.test_control_top import open_tmux
from tests.requirements import requires_busybox, requires_commands, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

TALK = "echo one; echo two; while :; do sleep 0.05; echo more; done"
JOBS = job("talk", TALK) + job("many", SLEEP, "replicas = 2\n")


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_line("talk | more")
        supervised.wait_event("job.started", job="many-2")
        yield supervised


def ask(directory: Path) -> Client:
    return Client(str(directory / "mocker" / "jobs.sock"))


async def test_lines_are_read_and_followed(supervised: Supervised, tmp_path: Path) -> None:
    async with ask(tmp_path) as client:
        async with client.logs("talk", since=3600) as lines:
            kept = [line["line"] async for line in lines]
        async with client.logs("talk", count=0, follow=True) as lines:
            followed = [(await anext(lines))["line"] for _ in range(3)]

    assert kept[:3] == ["one", "two", "more"]
    assert followed == ["more"] * 3


async def test_changes_are_followed(supervised: Supervised, tmp_path: Path) -> None:
    async with ask(tmp_path) as client, client.events() as events:
        first = [(await anext(events))["job"] for _ in range(3)]
        await client.stop("talk")
        states = [(await anext(events))["state"] for _ in range(2)]

    assert sorted(map(str, first)) == ["many-1", "many-2", "talk"]
    assert states == ["STOPPING", "STOPPED"]


async def test_state_is_waited_for(supervised: Supervised, tmp_path: Path) -> None:
    async with ask(tmp_path) as client:
        outcomes = await client.wait("talk", condition="ready")

    assert [(one["job"], one["ok"]) for one in outcomes] == [("talk", True)]


async def test_state_is_waited_for_no_longer_than_is_wanted(
    supervised: Supervised, tmp_path: Path
) -> None:
    async with ask(tmp_path) as client:
        (outcome,) = await client.wait("talk", condition="completed", timeout_s=0.1)

    assert (outcome["outcome"], outcome["timed_out"]) == ("not completed", True)


async def test_job_is_described_and_what_it_said_forgotten(
    supervised: Supervised, tmp_path: Path
) -> None:
    async with ask(tmp_path) as client:
        configs = await client.config("many")
        (killed,) = await client.kill("talk", wait=False)
        await client.wait("talk", condition="stopped")
        forgotten = await client.truncate_logs("talk")
        async with client.logs("talk") as lines:
            left = [line async for line in lines]

    assert [one["name"] for one in configs] == ["many-1", "many-2"]
    assert killed["outcome"] == "stopping"
    assert (forgotten, left) == ({"jobs": ["talk"]}, [])


async def test_supervisor_is_changed_and_ended(supervised: Supervised, tmp_path: Path) -> None:
    async with ask(tmp_path) as client:
        plan = await client.reload(dry_run=True)
        scaled = await client.scale({"many": 3})
        await client.shutdown()

    assert (plan["dry_run"], plan["unchanged"]) == (True, 3)
    assert [(one["job"], one["ok"]) for one in scaled] == [("many-3", True)]
    assert supervised.wait_exit() == 0


@requires_commands("tmux")
def test_top_shows_what_the_selected_job_has_printed(
    supervised: Supervised, tmp_path: Path
) -> None:
    with open_tmux(tmp_path) as tmux:
        tmux.wait_for(lambda screen: any("talk" in line for line in screen))
        tmux.press("End", "l")

        screen = tmux.wait_for(lambda screen: "more" in screen)

    assert any(line.startswith("-- talk: last lines --") for line in screen)
