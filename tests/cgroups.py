"""Cgroups for tests: real ones, in a tree of the test's own, also where version 1 limits the host.

Every host has a hierarchy of version 2, though with a hybrid one nothing can be limited there: it
kills, freezes and counts all the same. Limits are tried in the virtual machine, see tests/vm.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mocker.isolation.cgroups import Cgroup
from mocker.isolation.limits import Limits
from mocker.isolation.syscalls import CLONE_NEWNS, MS_BIND, MS_REC, MS_SLAVE, mount, unshare
from tests.refusals import enter_private_mounts
from tests.requirements import requires, requires_root

ROOT = Path("/sys/fs/cgroup")
HIERARCHY = ROOT if (ROOT / "cgroup.controllers").exists() else ROOT / "unified"
# A kernel without CONFIG_PSI, such as that of tests/vm, or booted with psi=0, has none.
KINDS_OF_PRESSURE = {"cpu", "io", "memory"} if Path("/proc/pressure").exists() else set[str]()

Test = TypeVar("Test", bound=Callable[..., object])


def find_cgroup_obstacle() -> str:
    return "" if os.access(HIERARCHY, os.W_OK) else f"cannot write to {HIERARCHY}"


requires_cgroups = requires(find_cgroup_obstacle)


def in_own_tree(test: Test) -> Test:
    """Mark a test that makes cgroups."""
    marked: Test = requires_root(requires_cgroups(test))
    return marked


@contextmanager
def own_tree() -> Iterator[Path]:
    """Make a cgroup for the length of a block; whatever is in it or below is killed and removed."""
    cgroup = Cgroup(f"{HIERARCHY}/test-of-mocker-{os.getpid()}", Limits())
    try:
        yield Path(cgroup.path)
    finally:
        cgroup.remove()


def enter(cgroup: Path) -> None:
    """Move the calling process, which is a fork of the test's."""
    (cgroup / "cgroup.procs").write_text("0")


def see_version_2_alone() -> None:
    """Let the calling process, a fork of the test's, see no hierarchy of version 1, nor systemd."""
    unshare(CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_SLAVE)
    mount(str(HIERARCHY), str(ROOT), "", MS_BIND)
    mount("none", "/run", "tmpfs")


def see_two_versions() -> None:
    """Let the calling process, a fork of the test's, see version 1 with version 2 beside it."""
    enter_private_mounts()
    mount("none", str(ROOT), "tmpfs")
    for name in ("memory/tasks", "unified/cgroup.controllers"):
        (ROOT / name).parent.mkdir()
        (ROOT / name).touch()


def show_controllers(controllers: str, mode: int = 0o755) -> None:
    """Show a cgroup v2 hierarchy whose part for the calling process has these controllers.

    There is no systemd, which would have others to give.
    """
    enter_private_mounts()
    mount("none", "/run", "tmpfs")
    mount("none", str(ROOT), "tmpfs")
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    path = next((line[4:] for line in lines if line.startswith("0::/")), "")
    directory = ROOT / path
    directory.mkdir(parents=True, exist_ok=True)
    for place in {ROOT, directory}:
        (place / "cgroup.controllers").write_text(f"{controllers}\n")
        (place / "cgroup.procs").touch()
        (place / "cgroup.subtree_control").touch()
    directory.chmod(mode)


def show_disk(scheduler: str) -> None:
    """Show one disk, with this line about its scheduler, to who has mounts of its own."""
    mount("none", "/sys/block", "tmpfs")
    queue = Path("/sys/block/vda/queue")
    queue.mkdir(parents=True)
    (queue / "scheduler").write_text(f"{scheduler}\n")


def read_cgroup(pid: int) -> str:
    """Return the path of a process's cgroup of version 2, as the caller sees it."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))
