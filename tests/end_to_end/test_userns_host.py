"""`mocker run --userns host`: root inside is root, and still in a jail."""

from pathlib import Path

import pytest

from tests.conftest import Mocker
from tests.requirements import requires_busybox, requires_root, requires_user

pytestmark = [pytest.mark.end_to_end, requires_busybox]


@requires_root
def test_root_inside_is_root_outside(mocker: Mocker, tmp_path: Path) -> None:
    result = mocker("run", "--userns", "host", "-v", f"{tmp_path}:/data", "touch", "/data/file")

    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "file").stat().st_uid == 0


@requires_root
@pytest.mark.parametrize(
    ("attack", "answer"),
    [
        ("echo core > /proc/sys/kernel/core_pattern", "Read-only file system"),
        ("echo 1 > /proc/irq/default_smp_affinity", "Read-only file system"),
        ("mount -o remount,rw /proc/sys", "permission denied"),
        ("mount -o remount,rw /data", "permission denied"),
        ("umount /proc/sys", "Operation not permitted"),
        ("touch /data/file", "Read-only file system"),
        ("mknod /dev/disk b 7 0", "Operation not permitted"),
        ("cat /proc/1/environ", "Permission denied"),
        ("hostname other", "Operation not permitted"),
    ],
)
def test_root_inside_gets_nowhere(mocker: Mocker, tmp_path: Path, attack: str, answer: str) -> None:
    options = ["--userns", "host", "-v", f"{tmp_path}:/data:ro"]

    result = mocker("run", *options, "sh", "-c", attack)

    assert result.returncode != 0
    assert answer in result.stderr


@requires_user
def test_it_is_for_root_only(mocker: Mocker) -> None:
    result = mocker("run", "--userns", "host", "true")

    assert result.returncode == 125
    assert result.stderr == (
        "mocker run: cannot share the host's user namespace; only root may do that\n"
    )
