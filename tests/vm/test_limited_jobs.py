"""Jobs of a supervisor within limits, paused and killed, by a kernel that has all of that."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.end_to_end.asking import Said, ask
from tests.end_to_end.supervised import Supervised, open_supervisor
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.vm.machine import IS_USER

# In one system call, see `test_limits`.
TAKE_40M = "dd if=/dev/zero of=/dev/null bs=40M count=1"
RUNTIME = f"/run/user/{os.getuid()}"
HERE = ["env", f"XDG_RUNTIME_DIR={RUNTIME}"] if IS_USER else ["env", "-u", "XDG_RUNTIME_DIR"]
DELEGATED = [
    *HERE,
    "systemd-run",
    *(["--user"] if IS_USER else []),
    "--quiet",
    "--scope",
    "-p",
    "Delegate=yes",
]
FOREVER = "[jobs.web]\ncommand = 'sleep 1000'\n"

pytestmark = [requires_user_namespaces, requires_busybox]


@contextmanager
def supervising(directory: Path, text: str, *, delegated: bool = False) -> Iterator[Supervised]:
    wrapper = DELEGATED if delegated else HERE
    with open_supervisor(directory, text, wrapper) as supervised:
        yield supervised


def mocker(command: str, *words: str) -> Said:
    """Ask the only supervisor that there is."""
    path = f"{RUNTIME if IS_USER else '/run'}/mocker/jobs.sock"
    return ask(Path(RUNTIME), command, "-s", path, *words)


def look(job: str) -> dict[str, Any]:
    """Return the figures of a job."""
    said = mocker("stats", "--json", job)
    assert said.err == ""
    (found,) = json.loads(said.out)["jobs"]
    return dict(found)


def test_job_that_is_out_of_memory_is_told_as_such_and_runs_again(tmp_path: Path) -> None:
    text = f"""
        [jobs.hog]
        command = ["sh", "-c", "{TAKE_40M}; exit 9"]
        memory = "24M"
        backoff = {{ initial = "1h", max = "1h" }}
    """
    hog = text.replace("; exit 9", "").replace("jobs.hog", "jobs.big").replace('sh", "-c", "', "")
    hog = hog.replace(f'"{TAKE_40M}"', ", ".join(f'"{word}"' for word in TAKE_40M.split()))

    with supervising(tmp_path, text + hog) as run:
        part = run.wait_event("job.exited", job="hog")
        whole = run.wait_event("job.exited", job="big")
        shown = {job["name"]: job for job in json.loads(mocker("ps", "--json").out)["jobs"]}
        wide = mocker("ps", "-o", "wide").out
        figures = look("big")

    assert (part["exit_code"], part["oom_killed"], part["next"]) == (9, True, "restart")
    assert (whole["signal"], whole["oom_killed"], whole["next"]) == ("SIGKILL", True, "restart")
    assert whole["level"] == "warning"
    assert 20 * 2**20 < whole["memory_peak_bytes"] <= 24 * 2**20
    assert shown["big"]["oom_killed"] is True
    assert "SIGKILL (OOMKilled)" in wide
    assert figures["oom_kills"] >= 1


def test_what_is_executed_in_a_job_is_within_its_limits(tmp_path: Path) -> None:
    with supervising(tmp_path, f"{FOREVER}memory = '24M'\n") as run:
        run.wait_event("job.started")

        said = mocker("exec", "web", *TAKE_40M.split())
        figures = look("web")

    assert said.status == 128 + signal.SIGKILL
    assert figures["oom_kills"] >= 1


def test_other_end_is_not_for_lack_of_memory(tmp_path: Path) -> None:
    text = """
        [jobs.web]
        command = ["sh", "-c", "kill -KILL $$"]
        memory = "24M"
        restart = "never"
    """

    with supervising(tmp_path, text) as run:
        ended = run.wait_event("job.exited", job="web")

    assert "oom_killed" not in ended


def test_fork_bomb_is_bounded_and_others_go_on(tmp_path: Path) -> None:
    # The shell itself forks once, before there is a bomb: a fork that is refused would end it.
    bomb = """
        [jobs.bomb]
        command = ["sh", "-c", "f() { f | f & }; f & exec sleep 1000"]
        pids = 30
        grace = 0
    """

    with supervising(tmp_path, FOREVER + bomb) as run:
        run.wait_event("job.started", job="bomb")
        run.wait_event("job.started", job="web")
        figures = look("bomb")
        killed = mocker("kill", "bomb")
        other = mocker("ps", "-q", "web")

    assert figures["processes"] <= 29
    assert (killed.out, killed.status) == ("bomb: killed\n", 0)
    assert other.status == 0


def test_cpu_time_is_a_share_and_memory_is_what_the_cgroup_counts(tmp_path: Path) -> None:
    text = """
        [jobs.web]
        command = ["sh", "-c", "while :; do :; done"]
        cpus = 0.2
        memory = "32M"
    """

    with supervising(tmp_path, text) as run:
        run.wait_event("job.started", job="web")
        before, began = look("web"), time.monotonic()
        while time.monotonic() < began + 5:
            time.sleep(0.5)
        after, took = look("web"), time.monotonic() - began

    share = (after["cpu_s"] - before["cpu_s"]) / took
    assert 0.05 < share < 0.4
    assert 0 < after["memory_bytes"] <= after["memory_peak_bytes"] <= 32 * 2**20
    assert after["memory_limit_bytes"] == 32 * 2**20


def test_paused_job_stands_still_until_it_is_resumed_or_stopped(tmp_path: Path) -> None:
    text = """
        [jobs.web]
        command = ["sh", "-c", "trap 'echo bye; exit' TERM; while :; do sleep 0.1; done"]
        pids = 50
        alive = { exec = ["true"], interval = "100ms", timeout = "100ms", failures = 1000 }
    """

    with supervising(tmp_path, text) as run:
        run.wait_event("job.started", job="web")
        said = [mocker(*words.split()) for words in ("pause web", "pause web", "exec web true")]
        shown = mocker("ps", "web")
        before = look("web")
        time.sleep(1)
        after = look("web")
        said += [mocker(*words.split()) for words in ("resume web", "resume web", "exec web true")]
        said += [mocker(*words.split()) for words in ("pause web", "stop web", "pause web")]
        run.wait_line("web | bye")

    assert [each.err for each in said if each.err] == [said[2].err]
    assert "RUNNING (paused)" in shown.out
    assert shown.status == 3
    assert after["cpu_s"] == before["cpu_s"]
    assert [(each.out, each.status) for each in said] == [
        ("web: paused\n", 0),
        ("web: already paused\n", 0),
        ("", 125),
        ("web: resumed\n", 0),
        ("web: already running\n", 0),
        ("", 0),
        ("web: paused\n", 0),
        ("web: stopped\n", 0),
        ("web: not running\n", 1),
    ]
    assert "it is paused; 'mocker resume web' ends that" in said[2].err


def test_supervisor_whose_cgroup_is_delegated_can_pause_all_jobs(tmp_path: Path) -> None:
    with supervising(tmp_path, FOREVER, delegated=True) as run:
        run.wait_event("job.started", job="web")
        said = mocker("pause", "web")
        figures = look("web")

    assert (said.out, said.status) == ("web: paused\n", 0)
    assert figures["memory_limit_bytes"] is None
    assert figures["memory_peak_bytes"] > 0


def test_first_limit_may_come_with_a_reload(tmp_path: Path) -> None:
    read = "grep -H . /sys/fs/cgroup/pids.max; exec sleep 1000"

    with supervising(tmp_path, f"{FOREVER}[jobs.late]\ncommand = ['sh', '-c', '{read}']") as run:
        run.wait_event("job.started", job="late")
        refused = mocker("pause", "late")
        run.rewrite(f"{FOREVER}[jobs.late]\ncommand = ['sh', '-c', '{read}']\npids = 77")
        run.wait_line("late | /sys/fs/cgroup/pids.max:77")
        paused = mocker("pause", "late")
        pids = [event["pid"] for event in run.find("job.started", job="web")]

    assert refused.status == 1
    assert refused.out.startswith("late: not paused (cannot freeze it; its container has no cgroup")
    assert paused.out == "late: paused\n"
    assert len(pids) == 1  # who has no limits is left alone


def test_limit_that_the_kernel_does_not_know_is_refused_and_others_run(tmp_path: Path) -> None:
    text = f"{FOREVER}[jobs.disk]\ncommand = 'true'\nio_weight = 200\nrestart = 'always'\n"

    with supervising(tmp_path, text) as run:
        given_up = run.wait_event("job.given_up", job="disk")
        run.wait_event("job.started", job="web")

    assert "cannot " in given_up["reason"]
    assert "io" in given_up["reason"]
    assert run.find("job.started", job="disk") == []


def test_nothing_is_left_of_the_cgroups_of_jobs_that_have_ended(tmp_path: Path) -> None:
    text = "[jobs.web]\ncommand = 'true'\npids = 9\nrestart = 'never'\n"

    with supervising(tmp_path, f"{FOREVER}pids = 8\n{text.replace('web', 'once')}") as run:
        run.wait_event("job.exited", job="once")
        started = run.wait_event("job.started", job="web")
        own = Path(f"/proc/{started['pid']}/cgroup").read_text().strip().removeprefix("0::/")
        place = Path("/sys/fs/cgroup", own).parent
        left = [path.name for path in place.glob("mocker-*")]

    assert left == [Path(own).name]
