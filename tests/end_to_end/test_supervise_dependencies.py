"""What jobs of `mocker-supervise` wait for before they start."""

from pathlib import Path

import pytest

from tests.end_to_end.job_texts import SLEEP, job, names
from tests.end_to_end.supervised import open_supervisor, supervise
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]


def test_chain_of_oneshots_runs_in_order(tmp_path: Path) -> None:
    text = "".join(
        job(
            f"j{number}",
            f"echo {number}",
            "type = 'oneshot'"
            + (f"\ndepends_on = {{ j{number - 1} = 'completed' }}" if number else ""),
        )
        for number in range(6)
    )

    status, run = supervise(tmp_path, text)

    assert (status, run.lines) == (0, [f"j{number} | {number}" for number in range(6)])


def test_job_with_two_dependencies_starts_once_after_both(tmp_path: Path) -> None:
    def step(name: str, needed: str) -> str:
        return job(name, f"echo {name}", f"type = 'oneshot'\ndepends_on = {{ {needed} }}")

    text = (
        step("end", "left = 'completed', right = 'completed'")
        + step("left", "top = 'completed'")
        + step("right", "top = 'completed'")
        + step("top", "")
    )

    status, run = supervise(tmp_path, text)

    started = names(run.find("job.started"))
    assert (status, started[0], sorted(map(str, started[1:3])), started[3:]) == (
        0,
        "top",
        ["left", "right"],
        ["end"],
    )


@pytest.mark.slow
def test_long_chain_of_short_jobs_is_done_soon(tmp_path: Path) -> None:
    text = "".join(
        f"[jobs.j{number}]\ncommand = ['true']\ntype = 'oneshot'\n"
        + (f"depends_on = {{ j{number - 1} = 'completed' }}\n" if number else "")
        for number in range(50)
    )

    status, run = supervise(tmp_path, text)

    assert (status, names(run.find("job.exited"))) == (0, [f"j{number}" for number in range(50)])


def test_dependency_that_fails_for_good_leaves_its_dependents_skipped(tmp_path: Path) -> None:
    text = (
        job("migrate", "exit 1", "type = 'oneshot'")
        + job("web", SLEEP, "depends_on = { migrate = 'completed' }")
        + job("proxy", SLEEP, "depends_on = { web = 'started' }")
    )

    status, run = supervise(tmp_path, text)

    assert status == 1
    assert [(event["job"], event["reason"]) for event in run.find("job.skipped")] == [
        ("web", "migrate will not be completed: it is EXITED"),
        ("proxy", "web will not be started: it is STOPPED"),
    ]


def test_line_that_comes_in_two_pieces_makes_a_job_ready_once(tmp_path: Path) -> None:
    text = job(
        "db",
        f"printf 'now accept'; sleep 0.2; echo ing; {SLEEP}",
        "ready = { log = 'now accepting$' }",
    ) + job("web", SLEEP, "depends_on = { db = 'ready' }")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started", job="web")
        run.terminate()

    order = [
        (e["event"], e["job"]) for e in run.events if e["event"] in {"job.ready", "job.started"}
    ]
    assert order == [("job.started", "db"), ("job.ready", "db"), ("job.started", "web")]


def test_dependents_of_a_job_that_ends_before_it_is_ready_are_skipped(tmp_path: Path) -> None:
    text = job(
        "db", "echo cannot; exit 1", "restart = 'never'\nready = { log = 'accepting' }"
    ) + job("web", SLEEP, "depends_on = { db = 'ready' }")

    status, run = supervise(tmp_path, text)

    (exited,) = run.find("job.exited")
    assert (status, names(run.find("job.skipped"))) == (1, ["web"])
    assert exited["last_lines"] == ["cannot"]


def test_job_that_is_not_ready_in_time_has_failed(tmp_path: Path) -> None:
    keys = "ready = { log = 'never' }\nstart_timeout = '200ms'\nrestart = 'never'"

    status, run = supervise(tmp_path, job("web", SLEEP, keys))

    (exited,) = run.find("job.exited")
    assert (status, exited["reason"]) == (1, "not ready after 0.2 s")
