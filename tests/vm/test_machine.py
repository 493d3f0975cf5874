"""The machine is what the other tests take it for."""

import os
from pathlib import Path

from tests.conftest import Mocker
from tests.containers import in_container
from tests.requirements import requires_root, requires_user
from tests.vm.machine import CGROUPS, find_cgroup, run, systemctl, systemd_run

CONTROLLERS = {"cpu", "memory", "pids"}


def test_systemd_is_the_first_process() -> None:
    assert run("ps", "-o", "comm=", "1").stdout == "systemd\n"
    assert systemctl("is-system-running").stdout in {"running\n", "starting\n"}


def test_there_are_cgroups_of_the_second_version_alone() -> None:
    mounts = Path("/proc/self/mounts").read_text().splitlines()

    assert [line.split()[2] for line in mounts if "cgroup" in line.split()[2]] == ["cgroup2"]
    assert set((CGROUPS / "cgroup.controllers").read_text().split()) >= CONTROLLERS


@requires_root
def test_root_is_root() -> None:
    assert os.geteuid() == 0


@requires_user
def test_user_has_a_manager_to_whom_controllers_are_delegated() -> None:
    own = find_cgroup(os.getpid())
    manager = CGROUPS / f"user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service"

    assert own.is_relative_to(manager)
    assert set((manager / "cgroup.controllers").read_text().split()) >= CONTROLLERS
    assert os.access(manager, os.W_OK)


def test_command_can_be_a_unit() -> None:
    told = systemd_run("--wait", "--pipe", "cat", "/proc/self/cgroup")

    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("0::/")


@in_container
def test_container_runs(mocker: Mocker) -> None:
    outcome = mocker("run", "echo", "hello", timeout=60)

    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "hello\n", "")
