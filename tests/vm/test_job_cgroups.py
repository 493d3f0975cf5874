"""Where the cgroups of jobs are, and what is gone with them; `test_limited_jobs` has the limits."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.processes import find_descendants, watch
from tests.end_to_end.supervised import MOCKER_SUPERVISE, Supervised, open_supervisor
from tests.requirements import requires_user
from tests.vm.machine import IS_USER, Completed, find_cgroup, wait_until

DELEGATED = ("-p", "Delegate=yes")
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done"


@contextmanager
def supervising(directory: Path, text: str, *options: str) -> Iterator[Supervised]:
    """Keep the jobs of a file from a scope that has these options; see `open_supervisor`."""
    # The manager is found by that directory, unlike what else a supervisor finds there.
    manager = f"XDG_RUNTIME_DIR={os.environ.get('XDG_RUNTIME_DIR', directory)}"
    scope = ["systemd-run", *(["--user"] if IS_USER else []), "--scope", "--quiet", "--collect"]
    with open_supervisor(directory, text, ["env", manager, *scope, *options]) as run:
        yield run
        run.terminate()


def mocker(directory: Path, *words: str) -> Completed:
    return subprocess.run(
        [MOCKER_SUPERVISE.with_name("mocker"), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={"XDG_RUNTIME_DIR": str(directory), **os.environ},
        check=False,
    )


def test_fork_bomb_harms_nobody_else_and_is_gone_with_its_job(tmp_path: Path) -> None:
    bomb = "echo armed; f() { f | f & }; f; exec sleep 1000"
    text = job("bomb", bomb, "pids = 20\ngrace = '100ms'") + job("web", COUNT)

    with supervising(tmp_path, text, *DELEGATED) as run:
        run.wait_line("bomb | armed")
        pid = int(run.find("job.started", job="bomb")[0]["pid"])
        cgroup = find_cgroup(pid)
        was_full = wait_until(lambda: "max 0" not in (cgroup / "pids.events").read_text())
        most = int((cgroup / "pids.current").read_text())
        before = len(run.lines)
        goes_on = wait_until(lambda: any("web |" in line for line in run.lines[before:]))
        with watch([pid, *find_descendants(pid)]) as wait_ended:
            stopped = mocker(tmp_path, "stop", "bomb")
            left = wait_ended()
        is_removed = wait_until(lambda: not cgroup.exists())

    assert (was_full, most <= 20, goes_on) == (True, True, True)
    assert (stopped.returncode, left, is_removed) == (0, [], True), stopped.stderr


def test_tree_of_processes_is_killed_as_a_whole(tmp_path: Path) -> None:
    tree = "for i in 1 2 3; do setsid sh -c 'setsid sleep 1000 & sleep 1000' & done; echo up; wait"

    with supervising(tmp_path, job("web", tree, "pids = 50") + job("db", SLEEP), *DELEGATED) as run:
        run.wait_line("web | up")
        pid = int(run.find("job.started", job="web")[0]["pid"])
        cgroup = find_cgroup(pid)
        grown = wait_until(lambda: len((cgroup / "cgroup.procs").read_text().split()) >= 8)
        with watch([pid, *find_descendants(pid)]) as wait_ended:
            mocker(tmp_path, "kill", "web")
            left = wait_ended()
        is_removed = wait_until(lambda: not cgroup.exists())

    assert (grown, left, is_removed) == (True, [], True)


def test_cgroups_lie_beside_that_of_the_supervisor_and_hide_the_others(tmp_path: Path) -> None:
    text = job("web", f"cat /proc/self/cgroup; {SLEEP}", "pids = 50")

    with supervising(tmp_path, text, *DELEGATED) as run:
        run.wait_line("web | 0::/")
        own = find_cgroup(run.process.pid)
        other = find_cgroup(int(run.find("job.started")[0]["pid"]))

    assert (own.name, own.parent) == ("mocker", other.parent)
    assert own.parent.name.endswith(".scope")


@requires_user
def test_without_delegation_a_limited_job_does_not_start_and_others_do(tmp_path: Path) -> None:
    text = job("limited", SLEEP, "pids = 50") + job("web", SLEEP)

    with supervising(tmp_path, text, "env", f"XDG_RUNTIME_DIR={tmp_path}") as run:
        failed = run.wait_event("job.start_failed", job="limited")
        given_up = run.wait_event("job.given_up", job="limited")
        run.wait_event("job.started", job="web")

    assert "systemd-run --user --scope -p Delegate=yes" in failed["reason"]
    assert given_up["attempt"] == 1
