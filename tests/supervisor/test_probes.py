import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.isolation import spawn
from mocker.supervisor.config import Probe
from mocker.supervisor.probes import JobAccess, LogWatch, wait_ready
from tests.containers import in_container, script


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        ("ready", b"now ready"),
        ("^ready$", b"starting\nready\ndone"),
        ("port [0-9]+", b"port 8080"),
        ("bereit für", "bereit für alle".encode()),
    ],
)
def test_line_that_matches_is_found(pattern: str, lines: bytes) -> None:
    watch = LogWatch(pattern)

    watch.see(lines)

    assert watch.found.is_set()


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [("^ready$", b"not ready"), ("one.two", b"one\ntwo"), ("ready", b"\xff\0")],
)
def test_line_that_does_not_match_is_not_found(pattern: str, lines: bytes) -> None:
    watch = LogWatch(pattern)

    watch.see(lines)

    assert not watch.found.is_set()


@in_container
async def test_run_is_ready_once_the_line_was_there() -> None:
    watch = LogWatch("up")
    answers = []
    with spawn(script("exec sleep 1000")) as container:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                probe = Probe(kind="log", target="up")
                answers.append(await wait_ready(probe, JobAccess(container, watch)))

            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            before = list(answers)
            watch.see(b"up")

    assert (before, answers) == ([], [""])
