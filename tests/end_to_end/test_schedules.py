"""Jobs on a schedule, by the clock on the wall and with runs that take their time."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.end_to_end.controlled import Controlled, open_controlled
from tests.end_to_end.supervised import open_supervisor
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

OVERLAPPING = """
[jobs.slow]
command = ["sh", "-c", "echo begin; sleep 3; echo end"]
schedule = "* * * * * *"
"""
SOON = timedelta(seconds=6)  # until then, a supervisor has begun


def read_skips(control: Controlled) -> tuple[int, int]:
    """Return how many times were skipped, as `mocker stats` and as Prometheus are told."""
    (job,) = json.loads(control.mocker("stats", "--json").stdout)["jobs"]
    answer = control.say(b"GET /metrics HTTP/1.0\r\n\r\n").decode()
    (sample,) = [line for line in answer.splitlines() if line.startswith("mocker_job_skips_total{")]
    return job["skips"], int(sample.split()[-1])


@pytest.mark.slow
def test_times_that_come_while_a_run_goes_on_are_skipped_and_counted(tmp_path: Path) -> None:
    with open_controlled(tmp_path, OVERLAPPING) as control:
        control.run.wait_event("job.started", count=3)
        before = len(control.run.find("job.skipped"))
        skips = read_skips(control)
        control.run.terminate()

    skipped = control.run.find("job.skipped")
    events = [e for e in control.run.events if e["event"] in {"job.started", "job.skipped"}]
    second = events.index(control.run.find("job.started")[1])
    assert control.run.lines[:4] == ["slow | begin", "slow | end"] * 2
    assert [event["event"] for event in events[1:second]].count("job.skipped") >= 2
    assert [event["count"] for event in skipped] == [*range(1, len(skipped) + 1)]
    assert before <= skips[0] <= skips[1] <= len(skipped)


@pytest.mark.slow
@pytest.mark.parametrize("zone", ["XYZ-05:45", "ABC+09:30"])
def test_schedule_follows_the_local_clock(tmp_path: Path, zone: str) -> None:
    hours, minutes = zone[4:].split(":")
    east = timedelta(hours=int(hours), minutes=int(minutes)) * (1 if zone[3] == "-" else -1)
    due = datetime.now(UTC) + SOON
    text = f"[jobs.job]\ncommand = 'true'\nschedule = '{due + east:%S %M %H * * *}'\n"

    with open_supervisor(tmp_path, text, ["env", f"TZ={zone}"]) as run:
        run.wait_event("job.started")
        late = time.time() - due.replace(microsecond=0).timestamp()

    assert 0 <= late < 60


@pytest.mark.slow
def test_time_that_the_clock_skips_comes_when_daylight_saving_begins(tmp_path: Path) -> None:
    change = datetime.now(UTC).replace(microsecond=0) + SOON
    day = change.timetuple().tm_yday - 1  # as tzset(3) counts them
    zone = f"STD0DST,{day}/{change:%H:%M:%S},{(day + 180) % 365}/0"
    within = change + timedelta(minutes=30)  # of the hour that is not there
    text = f"[jobs.job]\ncommand = 'true'\nschedule = '{within:%S %M %H * * *}'\n"

    with open_supervisor(tmp_path, text, ["env", f"TZ={zone}"]) as run:
        run.wait_event("job.started")
        late = time.time() - change.timestamp()

    assert 0 <= late < 60


def test_job_can_be_run_at_the_start_as_well(tmp_path: Path) -> None:
    text = "[jobs.{}]\ncommand = 'true'\nschedule = '@yearly'\n"
    both = text.format("at-once") + "run_on_start = true\n" + text.format("later")

    with open_controlled(tmp_path, both) as control:
        control.run.wait_event("job.exited", job="at-once")
        states = control.read_states()

    assert states == {"at-once": "EXITED", "later": "STOPPED"}


@pytest.mark.slow
def test_stop_ends_a_schedule_until_a_start(tmp_path: Path) -> None:
    text = "[jobs.tick]\ncommand = ['date', '+%S']\nschedule = '* * * * * *'\n"
    with open_controlled(tmp_path, text) as control:
        stopped = control.mocker("stop", "tick")
        before = len(control.run.find("job.started"))
        time.sleep(2.5)
        after = len(control.run.find("job.started"))
        shown = control.mocker("ps", "-o", "wide")
        started = control.mocker("start", "tick")
        control.run.wait_event("job.started", count=before + 3)

    assert (stopped.stdout, stopped.returncode, after) == ("tick: stopped\n", 0, before)
    assert "its schedule is stopped; 'mocker start tick' ends that" in shown.stdout
    assert (shown.returncode, started.returncode) == (3, 0)
