"""The commands for a supervisor as a whole, of a real one: reload, scale, config, shutdown."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end.processes import MOCKER, PATIENCE
from tests.end_to_end.supervised import Supervised, open_supervisor
from tests.requirements import requires_busybox, requires_commands, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

SLEEP = "sleep 1000"
WEB = "[jobs.web]\ncommand = 'sleep 1000'\n"
DB = "[jobs.db]\ncommand = 'sleep 1000'\n"
REPLICAS = """
[jobs.web]
command = ["sh", "-c", "echo I am $$(hostname); exec sleep 1000"]
replicas = 1
"""
FULL = """
[jobs.web]
command = ["sh", "-c", 'echo "$${X} costs $$$$5"; exec sleep 1000']
env = { SECRET = "${SECRET:-a\\\\b\\"c}" }
env_file = "more.env"
replicas = 2
ulimits = { nofile = "100:200" }
tmpfs = ["/scratch:size=1m"]
alive = { exec = ["true"], interval = "1h" }
[jobs.db]
command = "sleep 1000"
depends_on = { web = "ready" }
stop_signal = "HUP"
stdout = [{ file = "db.log" }, "console"]
"""


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    """Two jobs that run."""
    with open_supervisor(tmp_path, WEB + DB) as supervised:
        for name in ("web", "db"):
            supervised.wait_event("job.started", job=name)
        yield supervised


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Supervised]:
    """One replica that runs."""
    with open_supervisor(tmp_path, REPLICAS) as supervised:
        supervised.wait_line("web-1 | I am web-1")
        yield supervised


def start_mocker(
    supervised: Supervised, *words: str, wrapper: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*wrapper, MOCKER, *words],
        env={**os.environ, "XDG_RUNTIME_DIR": str(supervised.file.parent)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def mocker(
    supervised: Supervised, *words: str, wrapper: tuple[str, ...] = ()
) -> tuple[int, list[str], str]:
    """Return the exit status, the lines and what is on stderr."""
    with start_mocker(supervised, *words, wrapper=wrapper) as process:
        out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out.splitlines(), err


def curl(supervised: Supervised, path: str, *options: str) -> str:
    socket = supervised.file.parent / "mocker/jobs.sock"
    result = subprocess.run(
        ["curl", "--silent", "--show-error", "--unix-socket", socket, *options, f"http://x{path}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return result.stdout


def find_pids(supervised: Supervised) -> dict[str, Any]:
    _, lines, _ = mocker(supervised, "ps", "--json")
    return {job["name"]: job["pid"] for job in json.loads(lines[0])["jobs"]}


def test_reload_tells_what_has_changed_once_it_has(supervised: Supervised) -> None:
    before = find_pids(supervised)

    supervised.file.write_text(
        f"{WEB}grace = '3s'\nenv = {{ A = 'b' }}\n{DB}[jobs.new]\ncommand = '{SLEEP}'\n"
    )
    answer = mocker(supervised, "reload")
    after = find_pids(supervised)

    assert answer == (0, ["new: added", "web: changed (env, grace)"], "")
    assert after["db"] == before["db"]
    assert after["web"] != before["web"]
    assert mocker(supervised, "reload") == (0, ["nothing has changed"], "")


def test_job_that_is_removed_is_gone_when_the_reload_is_over(supervised: Supervised) -> None:
    supervised.file.write_text(WEB)

    answer = mocker(supervised, "reload")

    assert answer == (0, ["db: removed"], "")
    assert list(find_pids(supervised)) == ["web"]


def test_dry_run_changes_nothing(supervised: Supervised) -> None:
    before = find_pids(supervised)
    new = f"[jobs.new]\ncommand = '{SLEEP}'\n"
    supervised.file.write_text(f"[supervisor]\nlog_level = 'debug'\n{WEB}grace = '3s'\n{new}")

    answer = mocker(supervised, "reload", "--dry-run")

    assert answer == (
        0,
        [
            "new: to be added",
            "web: to be changed (grace)",
            "db: to be removed",
            "supervisor.log_level: stays as it is until the supervisor is started anew",
        ],
        "",
    )
    assert find_pids(supervised) == before
    assert len(supervised.find("config.loaded")) == 1


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["reload", "dry run"])
def test_file_with_mistakes_is_told_and_changes_nothing(
    supervised: Supervised, options: tuple[str, ...]
) -> None:
    before = find_pids(supervised)
    supervised.file.write_text(f"{WEB}grace = 'x'\nbogus = 1\n")

    status, lines, told = mocker(supervised, "reload", *options)

    assert (status, lines) == (2, [])
    assert f"mocker reload: {supervised.file}:3: jobs.web.grace: must be a duration" in told
    assert f"mocker reload: {supervised.file}:4: jobs.web.bogus: unknown key" in told
    assert find_pids(supervised) == before


def test_all_who_ask_for_a_reload_at_the_same_time_are_answered(supervised: Supervised) -> None:
    supervised.file.write_text(f"{WEB}{DB}[jobs.new]\ncommand = '{SLEEP}'\n")

    processes = [start_mocker(supervised, "reload") for _ in range(10)]
    answers = [process.communicate(timeout=PATIENCE) for process in processes]
    supervised.wait_event("job.started", job="new")

    assert [process.returncode for process in processes] == [0] * 10
    assert {out for out, _ in answers} <= {"new: added\n", "nothing has changed\n"}
    assert ("new: added\n", "") in answers
    assert len(supervised.find("job.started", job="new")) == 1


def test_effective_configuration_means_the_same_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "more.env").write_text("FROM_FILE='$x'\n")
    with open_supervisor(tmp_path, FULL.replace("replicas = 2\n", "")) as supervised:
        supervised.wait_event("job.started", job="db")
        before = find_pids(supervised)
        _, lines, _ = mocker(supervised, "config", "all")
        supervised.file.write_text("\n".join(lines))
        answer = mocker(supervised, "reload")
        after = find_pids(supervised)

    assert answer == (0, ["nothing has changed"], "")
    assert after == before


def test_effective_configuration_of_replicas_has_all_their_variables(tmp_path: Path) -> None:
    (tmp_path / "more.env").write_text("FROM_FILE='$x'\n")
    with open_supervisor(tmp_path, FULL) as supervised:
        supervised.wait_event("job.started", job="db")
        _, lines, _ = mocker(supervised, "config", "--json", "web")
        other = mocker(supervised, "config", "nope")

    jobs = json.loads(lines[0])["jobs"]
    assert [(job["name"], job["group"]) for job in jobs] == [("web-1", "web"), ("web-2", "web")]
    assert jobs[0]["config"]["env"] == {"FROM_FILE": "$x", "SECRET": 'a\\b"c'}
    assert (other[0], other[2]) == (4, "mocker config: there is no job 'nope'\n")


def test_replicas_are_numbered_on_and_the_highest_go_first(replicas: Supervised) -> None:
    first = find_pids(replicas)
    status, lines, _ = mocker(replicas, "scale", "web=4")
    more = find_pids(replicas)
    fewer = mocker(replicas, "scale", "web=2")
    left = find_pids(replicas)

    assert (status, sorted(lines)) == (0, [f"web-{n}: started" for n in (2, 3, 4)])
    assert fewer == (0, ["web-3: removed", "web-4: removed"], "")
    assert left == {"web-1": first["web-1"], "web-2": more["web-2"]}
    replicas.wait_line("web-4 | I am web-4")  # each has its own lines


def test_number_of_replicas_lasts_until_the_file_says_something_else(replicas: Supervised) -> None:
    mocker(replicas, "scale", "web=3")

    replicas.file.write_text(REPLICAS + DB)
    kept = mocker(replicas, "reload")
    replicas.file.write_text(REPLICAS.replace("replicas = 1", "replicas = 2") + DB)
    changed = mocker(replicas, "reload")

    assert kept == (0, ["db: added"], "")
    assert changed == (0, ["web-3: removed"], "")


def test_what_has_no_replicas_cannot_be_scaled(supervised: Supervised) -> None:
    answer = mocker(supervised, "scale", "web=2")

    text = "mocker scale: cannot scale web: it is one job, as its entry says no 'replicas'\n"
    assert answer == (1, [], text)


def test_shutdown_waits_until_the_supervisor_is_gone(supervised: Supervised) -> None:
    answer = mocker(supervised, "shutdown")

    assert answer == (0, ["jobs: stopped"], "")
    assert supervised.wait_exit(0.5) == 0  # its parent hears of it a moment later
    assert not (supervised.file.parent / "mocker/jobs.sock").exists()
    assert len(supervised.find("job.stopped")) == 2


def test_shutdown_that_is_not_waited_for_stops_as_well(supervised: Supervised) -> None:
    answer = mocker(supervised, "shutdown", "--no-wait")

    assert answer == (0, ["jobs: stopping"], "")
    assert supervised.wait_exit() == 0


def test_shutdown_of_a_supervisor_whose_jobs_are_stopped_is_answered(
    supervised: Supervised,
) -> None:
    mocker(supervised, "stop", "all")

    answer = mocker(supervised, "shutdown")

    assert answer == (0, ["jobs: stopped"], "")


@requires_commands("unshare")
def test_shutdown_from_another_pid_namespace_says_that_it_cannot_wait(
    supervised: Supervised,
) -> None:
    wrapper = ("unshare", "--user", "--map-root-user", "--pid", "--fork")

    status, lines, told = mocker(supervised, "shutdown", wrapper=wrapper)

    assert (status, lines) == (0, ["jobs: stopping"])
    assert "cannot wait for it" in told
    assert supervised.wait_exit() == 0


@requires_commands("curl")
def test_curl_can_reload_and_shut_down(supervised: Supervised) -> None:
    supervised.file.write_text(WEB)

    changes = json.loads(curl(supervised, "/v1/reload", "--data", "{}"))
    end = json.loads(curl(supervised, "/v1/shutdown", "--request", "POST"))

    assert (changes["removed"], changes["unchanged"]) == (["db"], 1)
    assert end == {"name": "jobs"}
    assert supervised.wait_exit() == 0


@requires_commands("curl")
def test_prometheus_understands_the_metrics(tmp_path: Path) -> None:
    crash = "[jobs.crash]\ncommand = 'sh -c \"exit 3\"'\nbackoff = { initial = 0 }\n"
    crash += "give_up = { failures = 3, within = '1h' }\n"
    with open_supervisor(tmp_path, WEB + crash) as supervised:
        supervised.wait_event("job.given_up")
        text = curl(supervised, "/metrics")
        head = curl(supervised, "/metrics", "--head")

    samples = {
        (sample.name, sample.labels.get("job"), sample.labels.get("state")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["mocker_job_up", "web", None] == 1
    assert samples["mocker_job_state", "crash", "FATAL"] == 1
    assert samples["mocker_job_last_exit_code", "crash", None] == 3
    assert samples["mocker_job_starts_total", "crash", None] == 3
    assert samples["mocker_job_restarts_total", "crash", None] == 2
    assert "content-type: text/plain; version=0.0.4; charset=utf-8\n" in head
