from pathlib import Path

import pytest

from mocker.isolation import Tmpfs
from mocker.isolation.layers import try_overlay
from tests.containers import in_container, make_rootfs, run_captured, script
from tests.in_namespaces import InNewNamespaces
from tests.requirements import requires_user_namespaces


@requires_user_namespaces
def test_overlay_is_tried_without_a_trace(in_new_namespaces: InNewNamespaces) -> None:
    before = Path("/proc/self/mountinfo").read_text()

    in_new_namespaces(try_overlay)

    assert Path("/proc/self/mountinfo").read_text() == before


def read_memory_total() -> int:
    """Return the bytes of memory of this machine."""
    line = Path("/proc/meminfo").read_text().splitlines()[0]
    return int(line.split()[1]) * 1024


@in_container
@pytest.mark.parametrize("rootfs", ["busybox", "host", "directory"])
def test_all_that_is_written_is_bounded_together(rootfs: str, tmp_path: Path) -> None:
    if rootfs == "directory":
        rootfs = str(make_rootfs(tmp_path))
    text = "stat -f -c '%b %S %c' /; for d in / /tmp /run /var/tmp; do stat -c %d $d; done"

    outcome = run_captured(script(text, rootfs=rootfs))

    (blocks, size, inodes), *devices = (line.split() for line in outcome.stdout.splitlines())
    assert 0.19 < int(blocks) * int(size) / read_memory_total() < 0.21
    assert int(inodes) == 800 * 1024
    assert [device for device in devices if device != devices[0]] == []


@in_container
@pytest.mark.parametrize("rootfs", ["busybox", "host", "directory"])
def test_every_file_system_in_memory_has_bounds(rootfs: str, tmp_path: Path) -> None:
    if rootfs == "directory":
        rootfs = str(make_rootfs(tmp_path))
    tmpfs = [Tmpfs("/asked"), Tmpfs("/small", 2**20)]

    outcome = run_captured(script("grep ' tmpfs ' /proc/mounts", rootfs=rootfs, tmpfs=tmpfs))

    options = {line.split()[1]: line.split()[3] for line in outcome.stdout.splitlines()}
    unbounded = [
        path for path, words in options.items() if "size=" not in words or "inodes=" not in words
    ]
    assert {"/asked", "/small", "/dev", "/dev/shm"} <= set(options)
    assert [path for path in unbounded if not is_the_hosts(path)] == []


def is_the_hosts(path: str) -> bool:
    """Whether something is mounted there outside, and so was only bound."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == path for line in lines)
