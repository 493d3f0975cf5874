"""Jobs on a schedule, by the clock on the wall and with runs that take their time."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.end_to_end.controlled import Controlled, open_controlled
from tests.end_to_end.supervised import Event, open_supervisor
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

OVERLAPPING = """
[jobs.slow]
command = ["sh", "-c", "echo begin; sleep 3; echo end"]
schedule = "* * * * * *"
"""
SOON = timedelta(seconds=3)


def list_seconds(events: list[Event]) -> list[int]:
    """Return the second of each event, for a clock that is never set back."""
    return [int(datetime.fromisoformat(event["timestamp"]).timestamp()) for event in events]


def read_skips(control: Controlled) -> tuple[int, int]:
    """Return how many times were skipped, as `mocker stats` and as Prometheus are told."""
    (job,) = json.loads(control.mocker("stats", "--json").stdout)["jobs"]
    answer = control.say(b"GET /metrics HTTP/1.0\r\n\r\n").decode()
    (sample,) = [line for line in answer.splitlines() if line.startswith("mocker_job_skips_total{")]
    return job["skips"], int(sample.split()[-1])


@pytest.mark.slow
def test_times_that_come_while_a_run_goes_on_are_skipped_and_counted(tmp_path: Path) -> None:
    with open_controlled(tmp_path, OVERLAPPING) as control:
        third = control.run.wait_event("job.started", count=3)
        before = len(control.run.find("job.skipped"))
        skips = read_skips(control)
        after = len(control.run.find("job.skipped"))
        control.run.terminate()

    began = list_seconds(control.run.find("job.started"))
    skipped = list_seconds(control.run.find("job.skipped"))
    assert control.run.lines[:4] == ["slow | begin", "slow | end"] * 2
    # Each second from the first run to the third is that of a run, or is skipped.
    told = [second for second in skipped if began[0] < second < began[2]]
    assert sorted(told + began[:3]) == list(range(began[0], began[2] + 1))
    assert [event["count"] for event in control.run.find("job.skipped")] == [
        *range(1, len(skipped) + 1)
    ]
    assert before <= skips[0] <= skips[1] <= after
    assert third["job"] == "slow"


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
    zone = f"STD0DST,{day}/{change:%H:%M:%S},{(day + 1) % 365}/0"
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
