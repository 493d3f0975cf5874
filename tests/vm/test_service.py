"""mocker-supervise as a service of systemd, with the units that the README shows."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.vm.machine import (
    CGROUPS,
    Completed,
    find_cgroup,
    find_configuration_directory,
    installed,
    read_journal,
    run,
    show,
    systemctl,
    wait_until,
)

README = (Path(__file__).parents[2] / "README.md").read_text()
SERVICE, SOCKET = re.findall(r"^```ini\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = Path(sys.executable).parent
UNITS = {
    "mocker.service": SERVICE.replace("/usr/local/bin", str(COMMANDS)),
    "mocker.socket": SOCKET,
}

JOBS = """
[jobs.web]
command = ["sh", "-c", "echo up; exec sleep 1000"]
stdout = "journald"
ready = { log = "up" }

[jobs.once]
type = "oneshot"
command = ["echo", "hello"]
"""
# In one system call: a process that comes back from one with more than memory.high sleeps first.
HOG = """
[jobs.hog]
command = ["dd", "if=/dev/zero", "of=/dev/null", "bs=40M", "count=1"]
memory = "16M"
restart = "never"
"""
MORE = JOBS + '\n[jobs.new]\ncommand = ["sleep", "1000"]\n'


@contextmanager
def services(jobs: str = JOBS, **replaced: str) -> Iterator[Path]:
    """Have the units installed, and the file of jobs, which is returned.

    Args:
        jobs: The file's text.
        replaced: Lines of the service, by what is before their "=", and what they are instead.
    """
    units = dict(UNITS)
    for key, value in {"RestartSec": "1ms", **replaced}.items():
        lines = [
            line for line in units["mocker.service"].splitlines() if not line.startswith(f"{key}=")
        ]
        lines.insert(lines.index("[Service]") + 1, f"{key}={value}")
        units["mocker.service"] = "\n".join(lines)
    file = find_configuration_directory() / "mocker" / "jobs.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(jobs)
    with installed(units):
        yield file
    file.unlink()


def mocker(*words: str) -> Completed:
    return run(COMMANDS / "mocker", *words)


def read_jobs() -> dict[str, dict[str, Any]]:
    """Return what `mocker ps` tells, by job."""
    told = mocker("ps", "--json")
    assert told.stdout, told.stderr
    return {job["name"]: job for job in json.loads(told.stdout)["jobs"]}


def read_states() -> dict[str, str]:
    return {name: job["state"] for name, job in read_jobs().items()}


def read_main_pid() -> int:
    return int(show("mocker.service", "MainPID"))


def find_unit_cgroup() -> Path:
    return CGROUPS / show("mocker.service", "ControlGroup").lstrip("/")


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def tell_why() -> str:
    """Return what systemd and the supervisor have said, for a test that failed."""
    return systemctl("status", "--no-pager", "--full", "mocker.service").stdout


def test_service_is_active_when_its_jobs_are_started_and_tells_how_they_are() -> None:
    with services():
        outcome = systemctl("start", "mocker.service")
        states = read_states()

        assert (outcome.returncode, outcome.stderr) == (0, ""), tell_why()
        assert states == {"web": "RUNNING", "once": "EXITED"}
        assert wait_until(lambda: show("mocker.service", "StatusText") == "1 RUNNING, 1 EXITED")
        assert show("mocker.service", "ActiveState") == "active"


def test_service_that_is_stopped_stops_its_jobs_in_order_and_leaves_nothing() -> None:
    with services():
        systemctl("start", "mocker.service")
        pid = read_jobs()["web"]["pid"]
        cgroup = find_unit_cgroup()
        was_there = (is_there(pid), cgroup.exists())

        systemctl("stop", "mocker.service")

        assert was_there == (True, True)
        assert (is_there(pid), cgroup.exists()) == (False, False)
        assert show("mocker.service", "Result") == "success", tell_why()
        assert show("mocker.service", "ExecMainStatus") == "0"
        (event,) = read_journal("MOCKER_EVENT=supervisor.stopping")[-1:]
        assert event["MOCKER_REASON"] == "SIGTERM was received"


def test_reload_follows_the_file() -> None:
    with services() as file:
        systemctl("start", "mocker.service")
        before = read_jobs()["web"]["pid"]
        file.write_text(MORE)

        outcome = systemctl("reload", "mocker.service")

        assert (outcome.returncode, outcome.stderr) == (0, ""), tell_why()
        assert wait_until(lambda: read_states().get("new") == "RUNNING")
        assert read_jobs()["web"]["pid"] == before
        assert wait_until(lambda: show("mocker.service", "ActiveState") == "active")


def test_job_without_memory_left_is_killed_and_the_service_goes_on() -> None:
    # The supervisor is in a cgroup below that of the service by then.
    with services(JOBS + HOG) as file:
        systemctl("start", "mocker.service")
        supervisor, cgroup = read_main_pid(), find_unit_cgroup()
        killed = wait_until(lambda: read_jobs()["hog"]["oom_killed"])
        places = find_cgroup(supervisor), find_cgroup(read_jobs()["web"]["pid"]).parent
        file.write_text(MORE + HOG)
        reloaded = systemctl("reload", "mocker.service")
        follows = wait_until(lambda: read_states().get("new") == "RUNNING")
        state = show("mocker.service", "ActiveState")
        systemctl("stop", "mocker.service")

        assert (killed, places) == (True, (cgroup / "mocker", cgroup)), tell_why()
        assert (reloaded.returncode, reloaded.stderr, follows) == (0, "", True)
        assert state == "active"
        assert show("mocker.service", "Result") == "success"
        assert not cgroup.exists()


def test_file_with_mistakes_is_a_failure_that_is_not_tried_again() -> None:
    with services("[jobs.web]\ncomand = 'true'\n"):
        outcome = systemctl("start", "mocker.service")

        assert outcome.returncode != 0
        assert wait_until(lambda: show("mocker.service", "ActiveState") == "failed")
        assert show("mocker.service", "ExecMainStatus") == "2"
        assert show("mocker.service", "NRestarts") == "0"


def test_service_whose_jobs_all_end_at_once_has_started_well() -> None:
    with services("[jobs.once]\ntype = 'oneshot'\ncommand = 'true'\n"):
        outcome = systemctl("start", "mocker.service")

        assert (outcome.returncode, outcome.stderr) == (0, ""), tell_why()
        assert wait_until(lambda: show("mocker.service", "ActiveState") == "inactive")
        assert show("mocker.service", "Result") == "success", tell_why()


def test_supervisor_that_is_killed_is_started_anew_without_what_it_left() -> None:
    with services():
        systemctl("start", "mocker.service")
        supervisor, job = read_main_pid(), read_jobs()["web"]["pid"]

        os.kill(supervisor, signal.SIGKILL)

        assert wait_until(lambda: show("mocker.service", "NRestarts") == "1")
        assert wait_until(lambda: show("mocker.service", "ActiveState") == "active")
        assert not is_there(job)
        assert read_main_pid() != supervisor
        assert read_states() == {"web": "RUNNING", "once": "EXITED"}


def test_supervisor_that_hangs_is_ended_and_started_anew() -> None:
    with services(WatchdogSec="3", WatchdogSignal="KILL"):
        systemctl("start", "mocker.service")
        supervisor = read_main_pid()

        os.kill(supervisor, signal.SIGSTOP)

        assert wait_until(lambda: show("mocker.service", "NRestarts") == "1")
        assert wait_until(lambda: show("mocker.service", "ActiveState") == "active")
        assert read_main_pid() != supervisor


def test_whoever_asks_starts_the_service_by_its_socket() -> None:
    with services():
        systemctl("start", "mocker.socket")
        before = show("mocker.service", "ActiveState")

        states = read_states()

        assert before == "inactive"
        assert set(states) == {"web", "once"}
        assert show("mocker.service", "ActiveState") in {"activating", "active"}


def test_whoever_executes_something_starts_the_service_by_its_other_socket() -> None:
    with services():
        systemctl("start", "mocker.socket")

        first = mocker("exec", "web", "echo", "hello")  # the job may not be there yet
        assert wait_until(lambda: show("mocker.service", "ActiveState") == "active"), first.stderr
        outcome = mocker("exec", "web", "echo", "hello")

        assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "hello\n", "")


def test_sockets_of_a_unit_stay_when_the_service_ends() -> None:
    with services():
        systemctl("start", "mocker.socket")
        first = read_states()
        ended = mocker("shutdown")
        stopped = wait_until(lambda: show("mocker.service", "ActiveState") == "inactive")

        second = read_states()

        assert (ended.returncode, stopped, set(first)) == (0, True, set(second)), ended.stderr


def test_journal_has_events_with_their_facts_and_lines_with_their_job() -> None:
    with services():
        systemctl("start", "mocker.service")
        job, supervisor = read_jobs()["web"]["pid"], read_main_pid()

        (event,) = read_journal("MOCKER_EVENT=job.started", "MOCKER_JOB=web", f"_PID={supervisor}")
        (line,) = read_journal("CONTAINER_NAME=web", f"_PID={supervisor}")
        (console,) = [
            entry
            for entry in read_journal(f"_PID={supervisor}", "_TRANSPORT=stdout")
            if "hello" in entry["MESSAGE"]
        ]

    unit = "_SYSTEMD_USER_UNIT" if "_SYSTEMD_USER_UNIT" in line else "_SYSTEMD_UNIT"
    assert (event["MOCKER_PID"], event["SYSLOG_IDENTIFIER"]) == (str(job), "mocker-supervise")
    assert (line["MESSAGE"], line["SYSLOG_IDENTIFIER"], line["PRIORITY"]) == ("up", "web", "6")
    assert (line["MOCKER_ATTEMPT"], line["SYSLOG_PID"]) == ("1", str(job))
    assert console["MESSAGE"] == "once | hello"
    assert {entry[unit] for entry in (event, line, console)} == {"mocker.service"}


@pytest.mark.parametrize("name", ["mocker.service", "mocker.socket"])
def test_systemd_has_nothing_to_say_against_the_units(name: str, tmp_path: Path) -> None:
    for unit, text in UNITS.items():
        (tmp_path / unit).write_text(text)

    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (told.returncode, told.stderr) == (0, "")
