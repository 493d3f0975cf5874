"""Jobs that ask for limits where there can be none; `tests/vm` has those that get them."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.asking import ask
from tests.end_to_end.processes import MOCKER
from tests.end_to_end.supervised import open_supervisor
from tests.requirements import (
    requires_busybox,
    requires_commands,
    requires_root,
    requires_user_namespaces,
)

pytestmark = [
    pytest.mark.end_to_end,
    requires_root,
    requires_user_namespaces,
    requires_busybox,
    requires_commands("unshare"),
]

# A host whose cgroups are not mounted.
WITHOUT = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs none /sys/fs/cgroup; exec "$@"',
    "sh",
]
TEXT = """
[jobs.web]
command = "sleep 1000"
memory = "64M"
restart = "always"

[jobs.other]
command = "sleep 1000"
"""
REASON = "cannot limit a container; no cgroups are mounted on /sys/fs/cgroup; mount cgroup2 there"


def test_job_whose_limit_cannot_be_had_does_not_start_and_others_do(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, TEXT, WITHOUT) as run:
        given_up = run.wait_event("job.given_up", job="web")
        run.wait_event("job.started", job="other")
        shown = {job["name"]: job for job in json.loads(ask(tmp_path, "ps", "--json").out)["jobs"]}
        started = ask(tmp_path, "start", "web")
        paused = ask(tmp_path, "pause", "other", "web")

    assert given_up["reason"] == REASON
    assert run.find("job.started", job="web") == []
    assert (shown["web"]["state"], shown["web"]["reason"]) == ("FATAL", REASON)
    assert (started.out, started.status) == (f"web: not started ({REASON})\n", 1)
    assert paused.status == 1
    assert "other: not paused (cannot freeze it; its container has no cgroup" in paused.out
    assert "web: not running\n" in paused.out


def test_reload_that_takes_the_limit_away_lets_the_job_start(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, TEXT, WITHOUT) as run:
        run.wait_event("job.given_up", job="web")
        run.wait_event("job.started", job="other")

        run.rewrite(TEXT.replace('memory = "64M"', ""))

        run.wait_event("config.loaded", changed=["web"])
        run.wait_event("job.started", job="web")
        assert len(run.find("job.started", job="other")) == 1


def test_check_tells_it_before(tmp_path: Path) -> None:
    file = tmp_path / "jobs.toml"
    file.write_text(TEXT)

    checked = subprocess.run(
        [*WITHOUT, MOCKER, "check", file], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 2
    assert f"jobs.web.memory: {REASON}" in checked.stderr
