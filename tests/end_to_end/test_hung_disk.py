"""Jobs that need a disk which does not answer, beside others: a real file system of FUSE."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.end_to_end.controlled import Controlled, open_controlled
from tests.end_to_end.job_texts import SLEEP, job
from tests.hung_disk import open_hung_disk
from tests.requirements import requires, requires_busybox, requires_commands, requires_root

pytestmark = [
    pytest.mark.end_to_end,
    requires_root,  # to mount it where it is seen
    requires(lambda: "" if Path("/dev/fuse").exists() else "there is no /dev/fuse"),
    requires_busybox,
    requires_commands("nsenter"),
]

CRASHING = "restart = 'always'\nbackoff = { initial = '50ms', factor = 1 }"
OTHERS = job("web", f"exec {SLEEP}") + job("crash", "exit 1", CRASHING)
SHOWN = Path("/mnt")  # a container with the host's root sees what is mounted there
SOON = "start_timeout = '4s'\nbackoff = { initial = 0 }\ngrace = '1h'\n"
NO_ANSWER = "cannot make its container; there was no answer for 4 s, as from a disk that is away"


def check_others_go_on(controlled: Controlled) -> None:
    """See others restarted by the supervisor, by somebody who asks, and added to the file.

    All that before one more start that waits for the disk comes to its end.
    """
    run = controlled.run
    failures = len(run.find("job.start_failed", job="hung"))
    crashes = len(run.find("job.exited", job="crash"))
    run.wait_event("job.exited", job="crash", count=crashes + 3)
    answer = controlled.ask("POST", "/v1/actions", {"action": "restart", "jobs": ["web"]})
    run.rewrite(run.file.read_text() + job("new", f"exec {SLEEP}"))
    run.wait_event("job.started", job="new")

    assert (answer[0], answer[1][0]["outcome"]) == (200, "restarted")
    assert len(run.find("job.start_failed", job="hung")) == failures


def test_disk_of_this_file_answers_nobody(tmp_path: Path) -> None:
    with open_hung_disk(tmp_path) as wrapper:
        looking = [*wrapper, "timeout", "--signal=TERM", "0.5", "cat", str(tmp_path / "file")]
        status = subprocess.run(looking, check=False).returncode

    assert status == 124


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("stdin = 'HUNG/in'", "cannot open stdin from HUNG/in; its disk has not answered for 4 s"),
        ("volumes = ['HUNG/data:/data']", NO_ANSWER),
        ("rootfs = 'HUNG/root'", NO_ANSWER),
    ],
)
def test_start_that_waits_for_the_disk_fails_after_its_time_and_nobody_waits_for_it(
    tmp_path: Path, keys: str, reason: str
) -> None:
    (hung := tmp_path / "hung").mkdir()
    text = OTHERS + job("hung", SLEEP, SOON + keys.replace("HUNG", str(hung)))

    with open_hung_disk(hung) as wrapper, open_controlled(tmp_path, text, wrapper) as controlled:
        failed = controlled.run.wait_event("job.start_failed", job="hung")
        check_others_go_on(controlled)
        status = controlled.run.terminate()  # in time here, too

    assert (failed["reason"], failed["next"]) == (reason.replace("HUNG", str(hung)), "restart")
    assert status == 0


def test_command_that_the_disk_does_not_hand_out_is_given_up_likewise(tmp_path: Path) -> None:
    keys = f"{SOON}command = ['{SHOWN}/program']\nrootfs = 'host'\n"
    later = job("later", SLEEP, "depends_on = { hung = 'started' }")
    text = f"{OTHERS}{later}[jobs.hung]\n{keys}"

    with (
        open_hung_disk(SHOWN, "program") as wrapper,
        open_controlled(tmp_path, text, wrapper) as controlled,
    ):
        run = controlled.run
        failed = run.wait_event("job.start_failed", job="hung")
        check_others_go_on(controlled)
        # In time, though there is an hour of grace.
        stopped = controlled.mocker("stop", "--force", "hung")
        controlled.mocker("start", "--no-wait", "hung")
        status = run.terminate()

    assert (failed["reason"], stopped.stdout, status) == (NO_ANSWER, "hung: stopped\n", 0)
    assert [*run.find("job.started", job="hung"), *run.find("job.started", job="later")] == []


def test_supervisor_ends_though_two_wait_for_one_directory_of_the_disk(tmp_path: Path) -> None:
    (hung := tmp_path / "hung").mkdir()
    text = OTHERS + job("stdin", SLEEP, f"stdin = '{hung}/in'")
    text += job("volume", SLEEP, f"volumes = ['{hung}/data:/data']")

    with open_hung_disk(hung) as wrapper, open_controlled(tmp_path, text, wrapper) as controlled:
        controlled.run.wait_event("job.exited", job="crash", count=3)
        status = controlled.run.terminate()

    assert status == 0


def test_fifty_jobs_that_wait_for_the_disk_hold_up_nobody(tmp_path: Path) -> None:
    (hung := tmp_path / "hung").mkdir()
    keys = f"replicas = 50\nstdin = '{hung}/in'"
    text = OTHERS + job("hung", SLEEP, f"start_timeout = '100ms'\n{keys}")

    with open_hung_disk(hung) as wrapper, open_controlled(tmp_path, text, wrapper) as controlled:
        controlled.run.wait_event("job.start_failed", count=100)
        threads = len([*Path(f"/proc/{controlled.run.process.pid}/task").iterdir()])
        crashes = len(controlled.run.find("job.exited", job="crash"))
        controlled.run.wait_event("job.exited", job="crash", count=crashes + 3)
        answer = controlled.ask("POST", "/v1/actions", {"action": "restart", "jobs": ["web"]})
        status = controlled.run.terminate()

    assert (answer[1][0]["outcome"], status) == ("restarted", 0)
    assert threads < 10


def test_log_on_the_disk_delays_neither_others_nor_a_stop(tmp_path: Path) -> None:
    (hung := tmp_path / "hung").mkdir()
    keys = f"output = [{{ file = '{hung}/log' }}, 'console']"
    text = OTHERS + job("hung", f"echo printed; exec {SLEEP}", keys)

    with open_hung_disk(hung) as wrapper, open_controlled(tmp_path, text, wrapper) as controlled:
        run = controlled.run
        run.wait_line("hung | printed")
        run.send(signal.SIGUSR1)
        check_others_go_on(controlled)
        began = time.monotonic()
        stopped = controlled.mocker("stop", "hung")
        status = run.terminate()
        took = time.monotonic() - began

    assert (stopped.stdout, status) == ("hung: stopped\n", 0)
    assert [event["lines"] for event in run.find("sink.lost")] == [1]
    assert took < 5


def test_reload_that_waits_for_the_disk_delays_neither_others_nor_the_end(tmp_path: Path) -> None:
    (hung := tmp_path / "hung").mkdir()

    with open_hung_disk(hung) as wrapper, open_controlled(tmp_path, OTHERS, wrapper) as controlled:
        run = controlled.run
        run.rewrite(OTHERS + job("new", SLEEP, f"env_file = '{hung}/env'"))
        run.wait_event("signal.received", signal="SIGHUP")
        crashes = len(run.find("job.exited", job="crash"))
        run.wait_event("job.exited", job="crash", count=crashes + 3)
        stopped = controlled.mocker("stop", "web")
        status = run.terminate()

    assert (stopped.stdout, status, run.find("job.started", job="new")) == ("web: stopped\n", 0, [])
