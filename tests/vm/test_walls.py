"""What a host is told to have, where it has other things than most: limits, and no landlock."""

from pathlib import Path

from tests.conftest import Mocker
from tests.containers import in_container
from tests.end_to_end.supervised import supervise


@in_container
def test_host_tells_what_can_be_limited_and_where(mocker: Mocker) -> None:
    lines = mocker("check-host", timeout=60).stdout.splitlines()

    (limits,) = [line for line in lines if "cgroup v2 delegation" in line]
    (journald,) = [line for line in lines if "journald" in line]
    assert limits.startswith("ok ")
    assert "memory, pids, and mocker pause, in a scope of its own, from systemd" in limits
    assert journald.split(maxsplit=2)[::2] == ["ok", "listens at /run/systemd/journal/socket"]


@in_container
def test_limits_are_explained_as_those_that_are_asked_for(mocker: Mocker) -> None:
    words = ["run", "--explain", "--memory", "64M", "--pids-limit", "20", "true"]

    lines = mocker(*words, timeout=60).stdout.splitlines()

    (limits,) = [line for line in lines if line.split()[1] == "limits"]
    assert limits.startswith("on ")
    assert "memory 67108864, pids 20, in a scope of its own, from systemd" in limits


def test_kernel_without_landlock_is_told_by_name(mocker: Mocker) -> None:
    lines = mocker("check-host", timeout=60).stdout.splitlines()

    (landlock,) = [line for line in lines if line.split()[1] == "landlock"]
    assert landlock.startswith("absent ")
    assert landlock.endswith("(ENOSYS); the kernel is built without it")


def test_job_does_not_start_without_the_landlock_that_it_asked_for(tmp_path: Path) -> None:
    text = "[jobs.web]\ncommand = ['/bin/echo', 'started']\nrestart = 'never'\n"

    status, run = supervise(tmp_path, f"{text}isolate = false\nlandlock = true\n", within=60)

    (failed,) = run.find("job.start_failed", job="web")
    assert (status, run.lines) == (1, [])
    assert str(failed["reason"]).startswith("cannot put up a wall by landlock: Function not impl")
