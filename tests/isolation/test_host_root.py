import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mocker.isolation.host_root import _read_mount_points
from mocker.isolation.syscalls import mount
from tests.callers import describe_tree
from tests.containers import Outcome, run_captured, script
from tests.in_namespaces import InNewNamespaces, run_in_child
from tests.refusals import enter_private_mounts
from tests.requirements import requires_root, requires_user, requires_user_namespaces


@requires_user_namespaces
def test_host_has_its_programs_and_files_in_view() -> None:
    outcome = run_captured(script("cat /etc/passwd; ls /", rootfs="host"))

    assert outcome.stdout.startswith(Path("/etc/passwd").read_text())
    assert {"bin", "dev", "etc", "proc", "sys", "usr"} <= set(outcome.stdout.split())


@requires_user_namespaces
@pytest.mark.parametrize("place", ["/tmp", "/var/tmp", "/run"])
def test_place_for_temporary_files_of_the_host_is_fresh(place: str) -> None:
    outcome = run_captured(script('ls -A "$1"; touch "$1/new"; ls "$1"', place, rootfs="host"))

    assert outcome.stdout == "new\n"
    assert not Path(place, "new").exists()


@requires_user_namespaces
def test_nothing_that_is_done_to_the_host_lasts(own_directory: Path) -> None:
    (own_directory / "changed").write_text("before\n")
    before = describe_tree(own_directory)

    outcome = run_captured(
        script(
            'cd "$1"; echo after >changed; mkdir new; cat changed',
            str(own_directory),
            rootfs="host",
        )
    )

    assert outcome.stdout in {"after\n", "before\n"}  # or read-only, where overlay is refused
    assert describe_tree(own_directory) == before


@pytest.fixture
def own_directory() -> Iterator[Path]:
    """A directory of the caller's that a container of the host's files shows."""
    directory = Path.home() / f"container-test-{os.getpid()}"
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)


@requires_user_namespaces
def test_part_of_the_host_with_mounts_below_is_read_only(own_directory: Path) -> None:
    text = 'cd "$1"; ls; (: >new) && echo wrote; (: >mounted/new) && echo wrote below'
    (own_directory / "mounted").mkdir()

    def act() -> tuple[Outcome, list[str]]:
        enter_private_mounts()
        mount("none", str(own_directory / "mounted"), "tmpfs")
        (own_directory / "mounted/below").touch()
        outcome = run_captured(script(f"{text}; ls mounted", str(own_directory), rootfs="host"))
        return outcome, sorted(path.name for path in own_directory.rglob("*"))

    outcome, left = run_in_child(act)

    assert outcome.stdout == "mounted\nbelow\n"
    assert left == ["below", "mounted"]


@requires_root
@requires_user_namespaces
def test_root_changes_files_of_the_host_for_itself() -> None:
    outcome = run_captured(
        script("echo changed >/etc/hostname.new && cat /etc/hostname.new", rootfs="host")
    )

    assert outcome.stdout == "changed\n"
    assert not Path("/etc/hostname.new").exists()


@requires_user
@requires_user_namespaces
def test_user_cannot_change_files_of_the_system() -> None:
    outcome = run_captured(script(": >>/etc/passwd", rootfs="host"))

    assert not outcome.status.success


@requires_user_namespaces
def test_mount_points_are_read_with_their_real_names(in_new_namespaces: InNewNamespaces) -> None:
    names = [
        "plain",
        "with space",
        "tab\there",
        "new\nline",
        "back\\slash",
        "ünï",
        "数据",
        "\udcff",
    ]

    def act() -> list[str]:
        mount("none", "/mnt", "tmpfs")
        for name in names:
            Path("/mnt", name).mkdir()
            mount("none", f"/mnt/{name}", "tmpfs")
        return _read_mount_points()[-len(names) :]

    assert in_new_namespaces(act) == [f"/mnt/{name}" for name in names]
