"""What a real supervisor says of what its jobs use, and who asks it from a program."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mocker.supervisor import AnswerError, Client
from tests.end_to_end.controlled import open_controlled
from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.processes import MOCKER, PATIENCE
from tests.end_to_end.supervised import Supervised, open_supervisor
from tests.requirements import requires_busybox, requires_commands, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

SPIN = "while :; do :; done"
FAMILY = "sleep 1000 & sleep 1000 & echo family; wait"
JOBS = (
    job("idle", SLEEP)
    + job("spin", SPIN)
    + job("family", FAMILY)
    + job("done", "echo one; echo two", "type = 'oneshot'\n")
)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_line("family | family")
        supervised.wait_event("job.exited", job="done")
        for name in ("idle", "spin"):
            supervised.wait_event("job.started", job=name)
        yield supervised


def mocker(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MOCKER, *words],
        env={**os.environ, "XDG_RUNTIME_DIR": str(directory)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def read_stats(directory: Path) -> dict[str, Any]:
    answer = json.loads(mocker(directory, "stats", "--json").stdout)
    return {one["name"]: one for one in answer["jobs"]}


def wait_for_time(directory: Path) -> dict[str, Any]:
    """Return the figures once the busy job has used some time, in two looks."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = read_stats(directory)
        if found["spin"]["cpu_s"] and found["spin"]["cpu_percent"]:
            return found
        assert time.monotonic() < deadline


def test_figures_are_those_of_each_job(supervised: Supervised, tmp_path: Path) -> None:
    found = wait_for_time(tmp_path)

    assert found["idle"]["cpu_percent"] < found["spin"]["cpu_percent"]
    assert [found[name]["processes"] for name in ("idle", "spin", "family", "done")] == [
        1,
        1,
        3,
        None,
    ]
    assert found["family"]["memory_bytes"] > found["idle"]["memory_bytes"] > 0
    assert found["done"] == {
        "name": "done",
        "state": "EXITED",
        "pid": None,
        "cpu_percent": None,
        "cpu_s": None,
        "memory_bytes": None,
        "processes": None,
        "memory_limit_bytes": None,
        "memory_peak_bytes": None,
        "oom_kills": 0,
        "pressure": {},
        "output_bytes": len("one\ntwo\n"),
        "output_lines": 2,
        "output_lines_exact": True,
        "restarts": 0,
        "skips": 0,
    }


def test_table_has_a_line_for_each_job(supervised: Supervised, tmp_path: Path) -> None:
    result = mocker(tmp_path, "stats", "idle", "done")

    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split()[0] for line in lines] == ["NAME", "idle", "done"]


def test_ps_shows_processor_and_memory(supervised: Supervised, tmp_path: Path) -> None:
    wait_for_time(tmp_path)

    lines = mocker(tmp_path, "ps", "idle", "done").stdout.splitlines()

    assert lines[0].split()[-2:] == ["CPU", "MEM"]
    assert lines[1].split()[-2].endswith("%")
    assert lines[2].split()[-2:] == ["-", "-"]


def test_wide_ps_shows_processes(supervised: Supervised, tmp_path: Path) -> None:
    lines = mocker(tmp_path, "ps", "-o", "wide", "family", "done").stdout.splitlines()

    column = lines[0].index("PROCESSES")
    assert [line[column:].split()[0] for line in lines[1:]] == ["3", "-"]


def test_restarts_that_nobody_asked_for_are_counted_for_tables_and_graphs(tmp_path: Path) -> None:
    with open_controlled(tmp_path, job("web", SLEEP)) as control:
        control.run.wait_event("job.started")
        control.mocker("signal", "TERM", "web")
        control.run.wait_event("job.started", attempt=2)
        control.mocker("restart", "web")
        tables = [control.mocker(name).stdout.splitlines() for name in ("ps", "stats")]
        metrics = control.say(b"GET /metrics HTTP/1.0\r\n\r\n").decode()

    assert [row[head.index("RESTARTS") :].split()[0] for head, row in tables] == ["1", "1"]
    assert 'mocker_job_restarts_total{job="web",group="web"} 1\n' in metrics


def test_unknown_job_has_no_figures(supervised: Supervised, tmp_path: Path) -> None:
    result = mocker(tmp_path, "stats", "nobody")

    assert result.returncode == 4
    assert result.stderr.startswith("mocker stats: there is no job 'nobody'")


@requires_commands("curl")
def test_curl_sees_the_same(supervised: Supervised, tmp_path: Path) -> None:
    socket = tmp_path / "mocker" / "jobs.sock"

    output = subprocess.check_output(
        ["curl", "-sS", "--unix-socket", socket, "http://localhost/v1/stats?name=family"], text=True
    )

    (family,) = json.loads(output)["jobs"]
    assert family["name"] == "family"
    assert family["output_lines"] == 1


@pytest.mark.parametrize("path", ["/v1/stats?nam=web", "/v1/jobs?stats=yes", "/v1/jobs?stat=1"])
async def test_query_that_cannot_be_meant_is_refused(
    path: str, supervised: Supervised, tmp_path: Path
) -> None:
    async with Client(str(tmp_path / "mocker" / "jobs.sock")) as client:
        with pytest.raises(AnswerError) as caught:
            await client.ask("GET", path)

    assert (caught.value.code, caught.value.status) == ("bad-request", 400)


async def test_program_asks_for_jobs_and_changes_them(
    supervised: Supervised, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    async with Client() as client:
        before = await client.jobs("idle")
        outcomes = await client.restart("idle")
        sent = await client.signal("TERM", "spin")
        stopped = await client.stop("fam*")
        after = await client.jobs("idle", "family", stats=True)
        with pytest.raises(AnswerError) as caught:
            await client.start("nobody")

    assert [one["outcome"] for one in outcomes + sent + stopped] == [
        "restarted",
        "SIGTERM sent",
        "stopped",
    ]
    assert before[0]["pid"] != after[0]["pid"]
    assert [one["state"] for one in after] == ["RUNNING", "STOPPED"]
    assert {"cpu_percent", "memory_bytes"} <= after[0].keys()
    assert (caught.value.code, caught.value.jobs) == ("no-such-job", ("nobody",))


async def test_program_that_names_its_supervisor_reaches_it(
    supervised: Supervised, tmp_path: Path
) -> None:
    async with Client(str(tmp_path / "mocker" / "jobs.sock")) as client:
        answer = await client.ask("GET", "/v1/supervisor")
        figures = await client.stats()

    assert answer["name"] == "jobs"
    assert [one["name"] for one in figures] == ["idle", "spin", "family", "done"]
