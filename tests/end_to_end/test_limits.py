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


HERE = Path(__file__).parent


def lay_out(*lines: str) -> list[str]:
    """Return a command that runs another one where these have mounted what cgroups there are."""
    script = ["set -e", "mount -t tmpfs none /sys/fs/cgroup; cd /sys/fs/cgroup", *lines]
    return ["unshare", "--mount", "sh", "-c", "\n".join([*script, 'cd "$0"; exec "$@"']), str(HERE)]


WITHOUT = lay_out()
# A host that has all its controllers in version 2 mounts none of version 1, and looks the same.
MOUNT_1 = "mkdir memory pids; mount -t cgroup -o memory none memory 2>&- || :"
MOUNT_2 = "mkdir unified; mount -t cgroup2 none unified"
VERSION_1, HYBRID = lay_out(MOUNT_1), lay_out(MOUNT_1, MOUNT_2)
TEXT = """
[jobs.web]
command = "sleep 1000"
memory = "64M"
restart = "always"

[jobs.other]
command = "sleep 1000"
"""
REASON = "cannot limit a container; no cgroups are mounted on /sys/fs/cgroup; mount cgroup2 there"
BOOT = "boot with systemd.unified_cgroup_hierarchy=1, so that version 2 has them all"
LAYOUTS = pytest.mark.parametrize(
    ("layout", "reason"),
    [
        (WITHOUT, REASON),
        (VERSION_1, f"cannot limit a container; this host has version 1 of cgroups alone; {BOOT}"),
        (
            HYBRID,
            "cannot limit a container; version 1 of cgroups has the controllers of this host "
            f"(hybrid); {BOOT}",
        ),
    ],
    ids=["none", "version 1", "hybrid"],
)


@LAYOUTS
def test_job_whose_limit_cannot_be_had_does_not_start_and_others_do(
    tmp_path: Path, layout: list[str], reason: str
) -> None:
    with open_supervisor(tmp_path, TEXT, layout) as run:
        given_up = run.wait_event("job.given_up", job="web")
        run.wait_event("job.started", job="other")
        shown = {job["name"]: job for job in json.loads(ask(tmp_path, "ps", "--json").out)["jobs"]}
        started = ask(tmp_path, "start", "web")
        paused = ask(tmp_path, "pause", "other", "web")

    assert given_up["reason"] == reason
    assert run.find("job.started", job="web") == []
    assert (shown["web"]["state"], shown["web"]["reason"]) == ("FATAL", reason)
    assert (started.out, started.status) == (f"web: not started ({reason})\n", 1)
    assert paused.status == 1
    assert "other: not paused (cannot freeze it; its container has no cgroup" in paused.out
    assert "web: not running\n" in paused.out


@LAYOUTS
def test_container_starts_without_limits_and_not_with_one(layout: list[str], reason: str) -> None:
    def run(*options: str) -> tuple[int, str, str]:
        words = [*layout, str(MOCKER), "run", *options, "echo", "started"]
        result = subprocess.run(words, capture_output=True, text=True, check=False)
        return result.returncode, result.stdout, result.stderr

    limited = [run(*option.split()) for option in ("--memory 64m", "--cpus 1", "--pids-limit 9")]
    free = run("--ulimit", "nofile=64")

    assert limited == [(125, "", f"mocker run: {reason}\n")] * 3
    assert free == (0, "started\n", "")


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
