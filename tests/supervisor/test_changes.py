import json
from collections.abc import Iterator

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.isolation import ExitStatus
from mocker.supervisor.changes import Changes, Watcher
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.job_world import configure, make_means

pytestmark = [requires_user_namespaces, requires_busybox]

FACTS = ("event", "job", "state", "attempt")


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


class World:
    """Jobs that nobody runs, and the changes of their states."""

    def __init__(self, means: Means, *names: str) -> None:
        self.jobs: dict[str, Job] = {}
        self.changes = Changes(self.jobs)
        self._means = means
        for name in names:
            self.add(name)

    def add(self, name: str) -> Job:
        job = Job(configure("true", name=name), self._means, self._pass, self.changes.tell)
        self.jobs[name] = job
        self.changes.tell(job)
        return job

    def watch(self) -> Watcher:
        watcher = Watcher()
        self.changes.add(watcher)
        return watcher

    async def _pass(self, _: object) -> str:
        return ""


def take(watcher: Watcher) -> list[dict[str, object]]:
    taken = b""
    while watcher.has_more:
        taken += watcher.take()
    return [json.loads(line) for line in taken.splitlines()]


def shorten(told: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return [tuple(each.get(fact) for fact in FACTS) for each in told]


def test_who_follows_knows_first_how_all_jobs_are(means: Means) -> None:
    world = World(means, "web", "db")
    world.jobs["db"].start()

    told = take(world.watch())

    assert shorten(told) == [
        ("snapshot", "web", "STOPPED", 0),
        ("snapshot", "db", "STARTING", 1),
    ]


def test_each_change_is_told_once_and_in_order(means: Means) -> None:
    world = World(means, "web", "db")
    watcher = world.watch()
    take(watcher)

    world.jobs["web"].start()
    world.jobs["db"].start()
    world.jobs["web"].stop()
    world.jobs["web"].stop()

    assert shorten(take(watcher)) == [
        ("change", "web", "STARTING", 1),
        ("change", "db", "STARTING", 1),
        ("change", "web", "STOPPING", 1),
    ]


def test_change_that_nobody_can_see_is_not_told(means: Means) -> None:
    world = World(means, "web")
    watcher = world.watch()
    take(watcher)

    world.jobs["web"].retire()

    assert take(watcher) == []


def test_change_has_all_that_is_known(means: Means) -> None:
    world = World(means, "web")
    watcher = world.watch()
    take(watcher)

    job = world.jobs["web"]
    job.pid = 12
    job.start()

    (told,) = take(watcher)
    time = str(told.pop("time"))
    assert (len(time), time[-1]) == (len("2026-11-22T08:29:12.000000Z"), "Z")
    assert told == {
        "event": "change",
        "job": "web",
        "state": "STARTING",
        "reason": "",
        "pid": 12,
        "attempt": 1,
        "paused": False,
        "exit": None,
        "oom_killed": False,
    }


def test_job_at_rest_is_told_with_how_it_ended(means: Means) -> None:
    world = World(means, "web")
    job = world.jobs["web"]
    job.start()
    job.status = ExitStatus(code=3)
    job._become(attrs.evolve(job.life, state=State.EXITED, succeeded=False))

    (told,) = take(world.watch())

    assert (told["state"], told["exit"]) == ("EXITED", "exit code 3")


def test_job_that_runs_again_is_told_without_how_it_ended_before(means: Means) -> None:
    world = World(means, "web")
    job = world.jobs["web"]
    job.status = ExitStatus(code=3)
    job.start()

    (told,) = take(world.watch())

    assert (told["state"], told["exit"]) == ("STARTING", None)


def test_what_happened_while_nobody_followed_is_not_told(means: Means) -> None:
    world = World(means, "web")
    first = world.watch()
    world.changes.remove(first)
    world.jobs["web"].start()

    second = world.watch()

    assert shorten(take(second)) == [("snapshot", "web", "STARTING", 1)]


def test_new_job_is_told(means: Means) -> None:
    world = World(means)
    watcher = world.watch()

    world.add("web")

    assert shorten(take(watcher)) == [("change", "web", "STOPPED", 0)]


def test_job_that_is_removed_is_told(means: Means) -> None:
    world = World(means, "web")
    watcher = world.watch()
    take(watcher)

    del world.jobs["web"]
    world.changes.tell_removed("web")

    assert shorten(take(watcher)) == [("removal", "web", None, None)]


def test_who_takes_nothing_gets_a_word_about_that_and_no_more(means: Means) -> None:
    world = World(means, "web")
    stalled, other = world.watch(), world.watch()
    told = list[dict[str, object]]()

    for _ in range(6000):
        world.jobs["web"].start()
        world.jobs["web"].stop()
        world.jobs["web"].renew(world.jobs["web"].config)
        told += take(other)

    (word,) = take(stalled)
    assert (word["error"], stalled.at_end) == (
        {"code": "too-slow", "message": "too many changes were not taken; begin anew"},
        True,
    )
    assert (len(told), other.at_end) == (18_001, False)


def test_more_than_can_be_sent_at_a_time_is_taken_in_portions() -> None:
    watcher = Watcher()
    for _ in range(100):
        watcher.put(b"x" * 1000)

    assert len(watcher.take()) < 100_000


async def test_who_waits_is_woken_by_a_change() -> None:
    watcher = Watcher()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher.wait)
            await wait_all_tasks_blocked()

            watcher.put(b"one\n")

    assert watcher.take() == b"one\n"


async def test_who_waits_is_woken_by_the_end(means: Means) -> None:
    world = World(means)
    watcher = world.watch()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watcher.wait)
            await wait_all_tasks_blocked()

            world.changes.end()

    assert watcher.at_end


async def test_end_can_be_waited_for_until_the_last_one_is_gone(means: Means) -> None:
    world = World(means)
    watcher = world.watch()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.changes.wait_gone)
            await wait_all_tasks_blocked()

            world.changes.remove(watcher)


def test_who_comes_after_the_end_is_told_how_it_was_left(means: Means) -> None:
    world = World(means, "web")
    world.changes.end()

    watcher = world.watch()

    assert (len(take(watcher)), watcher.at_end) == (1, True)
