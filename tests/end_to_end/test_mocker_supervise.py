"""`mocker-supervise` as its user meets it: real files, real containers, real signals."""

import os
import signal
import subprocess
from pathlib import Path
from signal import Signals

import pytest

from tests.end_to_end.job_texts import SLEEP, STUBBORN, job
from tests.end_to_end.processes import find_descendants, watch
from tests.end_to_end.supervised import MOCKER_SUPERVISE, open_supervisor, supervise
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]


# How it ends


def test_oneshots_that_end_well_end_it_with_0(tmp_path: Path) -> None:
    status, run = supervise(tmp_path, job("one", "echo hello", "type = 'oneshot'"))

    assert (status, run.lines, run.remarks) == (0, ["one | hello"], [])


def test_file_without_jobs_that_run_ends_at_once(tmp_path: Path) -> None:
    status, run = supervise(tmp_path, job("one", "exit 0", "restart = 'on-failure'"))

    assert (status, run.find("job.exited", exit_code=0) != []) == (0, True)


def test_job_that_is_given_up_makes_the_status_1_and_shows_its_last_lines(tmp_path: Path) -> None:
    keys = "backoff = { initial = 0 }\ngive_up = { failures = 3, within = '60s' }"

    status, run = supervise(tmp_path, job("web", "seq 30; exit 7", keys))

    (given_up,) = run.find("job.given_up")
    assert (status, len(run.find("job.started"))) == (1, 3)
    assert given_up["last_lines"] == [str(number) for number in range(11, 31)]


@pytest.mark.parametrize("keys", ["restart = 'never'", "backoff = { initial = '1h', max = '1h' }"])
def test_run_that_ends_right_after_its_start_shows_its_last_lines(
    tmp_path: Path, keys: str
) -> None:
    with open_supervisor(tmp_path, job("web", "echo too-fast; exit 1", keys)) as run:
        exited = run.wait_event("job.exited")

    assert (exited["last_lines"], exited["exit_code"]) == (["too-fast"], 1)


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("info", {"info", "warning", "error"}),
        ("warning", {"warning", "error"}),
        ("error", {"error"}),
    ],
)
def test_level_of_the_log_is_the_lowest_that_is_told(
    tmp_path: Path, level: str, told: set[str]
) -> None:
    head = f"[supervisor]\nlog_level = '{level}'\n"

    _, run = supervise(
        tmp_path, head + job("web", "exit 1", "give_up = { failures = 1, within = 9 }")
    )

    assert {event["level"] for event in run.events} == told


def test_permanent_exit_code_ends_a_job_after_one_run(tmp_path: Path) -> None:
    keys = "restart = 'always'\npermanent_codes = [78]"

    status, run = supervise(tmp_path, job("web", "exit 78", keys))

    assert (status, len(run.find("job.started"))) == (1, 1)
    assert run.find("job.given_up", reason="exit code 78 is permanent")


def test_command_that_does_not_exist_says_so_and_is_tried_again(tmp_path: Path) -> None:
    text = "[jobs.web]\ncommand = ['nosuch']\nbackoff = { initial = '10ms' }"

    with open_supervisor(tmp_path, text) as run:
        failed = run.wait_event("job.start_failed", count=2)

        status = run.terminate()

    assert (status, failed["next"]) == (0, "restart")
    assert "'nosuch'" in failed["reason"]


def test_start_that_is_given_up_names_the_step(tmp_path: Path) -> None:
    text = "[jobs.web]\ncommand = ['true']\nuser = 'nosuch'\nrestart = 'never'"

    status, run = supervise(tmp_path, text)

    (failed,) = run.find("job.start_failed")
    assert (status, failed["next"]) == (1, "nothing")
    assert failed["reason"].startswith("cannot find user 'nosuch' in /etc/passwd")


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("exit 0", 0), ("kill -9 $$", 137)])
def test_critical_job_stops_the_others_and_gives_its_status(
    tmp_path: Path, script: str, status: int
) -> None:
    text = job("main", script, "critical = true\nrestart = 'never'") + job("other", SLEEP)

    ended, run = supervise(tmp_path, text)

    assert ended == status
    assert run.find("supervisor.stopping", reason="critical job main has ended")
    assert run.find("supervisor.stopped", exit_code=status)


def test_second_supervisor_of_a_name_refuses(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP)) as run:
        run.wait_event("job.started")

        second = subprocess.run(
            [MOCKER_SUPERVISE, run.file],
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    assert second.returncode == 1
    assert second.stderr == (
        f"mocker-supervise: cannot use the name 'jobs': supervisor {run.process.pid} has it; "
        "set another one in [supervisor]\n"
    )


def test_mistakes_of_the_file_are_all_told_and_nothing_is_started(tmp_path: Path) -> None:
    text = job("web", SLEEP, "restart = 'alway'") + job("db", SLEEP, "grace = -1")

    status, run = supervise(tmp_path, f"{text}\n[jobs.web]\nuser = nobody\n")

    assert (status, run.events, len(run.remarks)) == (2, [], 4)
    assert all(line.startswith(f"mocker-supervise: {run.file}:") for line in run.remarks)


# Restarts


def test_each_restart_has_its_reason_and_its_wait(tmp_path: Path) -> None:
    text = job("web", "kill -SEGV $$", "backoff = { initial = '10ms', factor = 3, jitter = 0 }")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.exited", count=3)
        run.terminate()

    exits = run.find("job.exited", signal="SIGSEGV", next="restart")[:3]
    assert [event["delay_s"] for event in exits] == [0.01, 0.03, 0.09]
    assert all(0 <= event["uptime_s"] < 5 for event in exits)


@pytest.mark.parametrize("number", ["1", "2", "6", "9", "11", "15"])
def test_job_that_dies_of_a_signal_is_restarted_and_the_signal_is_named(
    tmp_path: Path, number: str
) -> None:
    text = job("web", f"kill -{number} $$", "restart = 'always'\nbackoff = { initial = 0 }")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started", count=3)
        run.terminate()

    assert run.find("job.exited", signal=Signals(int(number)).name)


def test_crash_of_a_dependency_leaves_its_dependents_alone(tmp_path: Path) -> None:
    text = job(
        "db", "echo up; mkfifo /tmp/go; read -r _ <>/tmp/go", "backoff = { initial = 0 }"
    ) + job("web", SLEEP, "depends_on = { db = 'started' }")

    with open_supervisor(tmp_path, text) as run:
        db = run.wait_event("job.started", job="db")
        run.wait_event("job.started", job="web")
        os.kill(db["pid"], signal.SIGKILL)
        run.wait_event("job.started", job="db", count=2)
        run.terminate()

    assert len(run.find("job.started", job="web")) == 1


@pytest.mark.slow
def test_scheduled_job_runs_at_its_times_and_not_at_the_start(tmp_path: Path) -> None:
    text = job("tick", "echo tick", "type = 'oneshot'\nschedule = '* * * * * *'")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started", count=2)

        assert run.terminate() == 0
    seconds = [event["timestamp"][:19] for event in run.find("job.started")[:2]]
    assert seconds[0] < seconds[1]


# What jobs have of each other, and of the host


def test_job_shares_the_network_of_another_one(tmp_path: Path) -> None:
    text = job("db", "echo up; exec nc -l -p 8080 -e echo hello", "ready = { log = 'up' }") + job(
        "web",
        "until nc 127.0.0.1 8080; do sleep 0.05; done",
        "type = 'oneshot'\nnetwork = 'job:db'\ndepends_on = { db = 'ready' }",
    )

    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | hello")
        run.terminate()

    assert run.find("orphan.reaped") == []


def test_job_that_shares_the_network_of_one_that_does_not_run_says_so(tmp_path: Path) -> None:
    text = job("db", "exit 0") + job(
        "web", SLEEP, "network = 'job:db'\ndepends_on = { db = 'exited' }\nrestart = 'never'"
    )

    _, run = supervise(tmp_path, text)

    (failed,) = run.find("job.start_failed")
    assert failed["reason"] == "cannot share the network of db; db does not run"


@pytest.mark.slow
def test_job_does_not_wait_forever_for_a_network_whose_init_is_stopped(tmp_path: Path) -> None:
    text = job("db", SLEEP) + job(
        "web", "sleep 0.3; exit 1", "network = 'job:db'\nbackoff = { initial = '10ms' }"
    )

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.exited", job="web")
        (db,) = run.find("job.started", job="db")
        os.kill(db["pid"], signal.SIGSTOP)
        failed = run.wait_event("job.start_failed", job="web")
        os.kill(db["pid"], signal.SIGCONT)

        run.terminate()

    reason = "cannot share the network of db; its init has not answered for 5 s"
    assert failed["reason"] == reason


def test_job_without_isolation_leaves_nothing_behind_either(tmp_path: Path) -> None:
    script = f"setsid sh -c '{STUBBORN}' & trap '' TERM; wait"
    text = job("web", script, "isolate = false\ngrace = '200ms'")

    with open_supervisor(tmp_path, text) as run:
        run.wait_line("web | ready")
        with watch(find_descendants(run.process.pid)) as wait_ended:
            status = run.terminate()

            assert (status, wait_ended()) == (0, [])
    assert "isolate = false" in run.find("job.degraded")[0]["reason"]
