"""`mocker run --userns host`: root inside is root, and still in a jail."""

from pathlib import Path

import pytest

from tests.conftest import Mocker
from tests.requirements import requires_busybox, requires_root, requires_user

READ_NODE = "mknod /dev/node c 1 5 && head -c 1 /dev/node | wc -c"

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


READ_INIT = "for name in maps smaps auxv environ; do tr -d '\\0' </proc/1/$name | wc -c; done"
OF_THE_INIT = ("perfmon", "sys_ptrace", "sys_admin")


@requires_root
def test_memory_of_the_init_is_read_by_none_of_the_other_capabilities(mocker: Mocker) -> None:
    dropped = [word for name in OF_THE_INIT for word in ("--cap-drop", name)]
    options = ["--userns", "host", "--seccomp", "unconfined", "--cap-add", "all", *dropped]

    result = mocker("run", *options, "sh", "-c", READ_INIT)

    assert result.stdout.split() == ["0"] * 4
    assert result.stderr.count("Permission denied") == 4


@requires_root
def test_memory_of_the_init_is_told_of_by_sys_admin_and_its_environment_is_empty(
    mocker: Mocker,
) -> None:
    options = ["--userns", "host", "--cap-add", "sys_admin"]

    result = mocker("run", *options, "sh", "-c", READ_INIT)

    *readable, environment = map(int, result.stdout.split())
    assert all(readable)
    assert (len(readable), environment) == (3, 0)


@requires_root
@pytest.mark.parametrize(
    ("added", "attack"),
    [
        (["sys_admin"], "umount /proc/sys && mount -o remount,bind,rw /sys"),
        (["sys_admin"], "mount -o remount,bind,rw /data && touch /data/file"),
        (["sys_admin", "mknod"], f"mount -o remount,bind,dev /dev && {READ_NODE}"),
        (["all"], "readlink /proc/1/exe"),
    ],
)
def test_root_inside_that_is_given_more_gets_past_walls(
    mocker: Mocker, tmp_path: Path, added: list[str], attack: str
) -> None:
    options = ["--userns", "host", "-v", f"{tmp_path}:/data:ro"]
    options += [word for name in added for word in ("--cap-add", name)]

    result = mocker("run", *options, "sh", "-c", attack)

    assert (result.returncode, result.stderr) == (0, "")


@requires_user
def test_it_is_for_root_only(mocker: Mocker) -> None:
    result = mocker("run", "--userns", "host", "true")

    assert result.returncode == 125
    assert result.stderr == (
        "mocker run: cannot share the host's user namespace; only root may do that\n"
    )
