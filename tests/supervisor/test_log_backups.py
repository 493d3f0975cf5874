import errno
import gzip
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mocker.isolation.syscalls import mount
from mocker.supervisor.log_backups import Backups
from tests.in_namespaces import InNewNamespaces
from tests.requirements import requires_root, requires_user, requires_user_namespaces

MS_REMOUNT = 0x20
LONG = 6 * 2**20  # bytes that take a while to be compressed


def wait_for_compression() -> None:
    for thread in threading.enumerate():
        if thread.name == "compress":
            thread.join(10)


def push(backups: Backups, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    backups.push()


def make_backups(path: Path, count: int, *, compress: bool = False) -> Backups:
    backups = Backups(count, compress=compress)
    backups.follow(str(path))
    return backups


def read_all(directory: Path) -> dict[str, bytes]:
    return {
        path.name: gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in directory.iterdir()
    }


def test_newest_backup_has_the_lowest_number_and_the_oldest_is_dropped(tmp_path: Path) -> None:
    backups = make_backups(tmp_path / "log", 3)

    for content in (b"a", b"b", b"c", b"d", b"e"):
        push(backups, tmp_path / "log", content)

    assert read_all(tmp_path) == {"log.1": b"e", "log.2": b"d", "log.3": b"c"}


def test_single_backup_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "log.1.gz").write_bytes(gzip.compress(b"a"))
    backups = make_backups(tmp_path / "log", 1)

    push(backups, tmp_path / "log", b"b")

    assert read_all(tmp_path) == {"log.1": b"b"}


def test_what_is_compressed_keeps_its_place_among_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_bytes(b"c")
    (tmp_path / "log.2.gz").write_bytes(gzip.compress(b"b"))
    (tmp_path / "log.3").write_bytes(b"a")
    backups = make_backups(tmp_path / "log", 3)

    push(backups, tmp_path / "log", b"d")

    assert read_all(tmp_path) == {"log.1": b"d", "log.2": b"c", "log.3.gz": b"b"}


def test_free_number_is_used_before_a_backup_is_dropped(tmp_path: Path) -> None:
    for number in (1, 2, 4):
        (tmp_path / f"log.{number}").write_bytes(b"%d" % number)
    backups = make_backups(tmp_path / "log", 4)

    push(backups, tmp_path / "log", b"0")

    assert read_all(tmp_path) == {"log.1": b"0", "log.2": b"1", "log.3": b"2", "log.4": b"4"}


def test_failing_again_and_again_drops_one_backup_at_most(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"log.{number}").write_bytes(b"%d" % number)
    backups = make_backups(tmp_path / "log", 3)

    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            backups.push()

    assert read_all(tmp_path) == {"log.2": b"1", "log.3": b"2"}


def test_link_among_the_backups_is_renamed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"kept")
    (tmp_path / "log.1").symlink_to("precious")
    backups = make_backups(tmp_path / "log", 2, compress=True)

    push(backups, tmp_path / "log", b"a")
    wait_for_compression()

    assert (tmp_path / "log.2").is_symlink()
    assert read_all(tmp_path) == {"log.1.gz": b"a", "log.2": b"kept", "precious": b"kept"}


def test_backup_is_compressed_and_keeps_its_mode_and_time(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\ntwo\n" * 100_000)
    (tmp_path / "log").chmod(0o604)
    os.utime(tmp_path / "log", (1e9, 1e9))
    backups = make_backups(tmp_path / "log", 3, compress=True)

    backups.push()
    wait_for_compression()

    status = (tmp_path / "log.1.gz").stat()
    assert read_all(tmp_path) == {"log.1.gz": b"one\ntwo\n" * 100_000}
    assert status.st_size < 10_000
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o604, 1e9)
    assert backups.error is None


@requires_root
def test_compressed_backup_belongs_to_whom_the_file_belonged(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a")
    os.chown(tmp_path / "log", 12, 34)
    backups = make_backups(tmp_path / "log", 1, compress=True)

    backups.push()
    wait_for_compression()

    status = (tmp_path / "log.1.gz").stat()
    assert (status.st_uid, status.st_gid) == (12, 34)


def test_what_an_earlier_supervisor_left_is_compressed_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"d")
    (tmp_path / "log.1").write_bytes(b"c")
    (tmp_path / "log.2.gz").write_bytes(gzip.compress(b"b"))
    (tmp_path / "log.3").write_bytes(b"a")
    (tmp_path / "log.gz.tmp").write_bytes(gzip.compress(b"c" * 1000)[:20])

    make_backups(tmp_path / "log", 3, compress=True)
    wait_for_compression()

    assert read_all(tmp_path) == {
        "log": b"d", "log.1.gz": b"c", "log.2.gz": b"b", "log.3.gz": b"a"
    }  # fmt: skip


def test_backup_that_is_there_twice_is_compressed_again(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_bytes(b"whole")
    (tmp_path / "log.1.gz").write_bytes(gzip.compress(b"whole")[:10])

    make_backups(tmp_path / "log", 1, compress=True)
    wait_for_compression()

    assert read_all(tmp_path) == {"log.1.gz": b"whole"}


@pytest.mark.slow
def test_files_are_renumbered_while_they_are_compressed(tmp_path: Path) -> None:
    contents = [os.urandom(LONG) for _ in range(3)]
    backups = make_backups(tmp_path / "log", 5, compress=True)

    for content in contents:
        push(backups, tmp_path / "log", content)
    wait_for_compression()

    assert read_all(tmp_path) == {
        "log.1.gz": contents[2], "log.2.gz": contents[1], "log.3.gz": contents[0]
    }  # fmt: skip


def test_backup_that_is_dropped_while_it_is_compressed_leaves_nothing(tmp_path: Path) -> None:
    backups = make_backups(tmp_path / "log", 1, compress=True)

    push(backups, tmp_path / "log", os.urandom(LONG))
    push(backups, tmp_path / "log", b"b")
    wait_for_compression()

    assert read_all(tmp_path) == {"log.1.gz": b"b"}


def test_closing_does_not_wait_and_the_next_start_goes_on(tmp_path: Path) -> None:
    content = os.urandom(LONG)
    backups = make_backups(tmp_path / "log", 2, compress=True)
    push(backups, tmp_path / "log", content)

    backups.close()
    left = read_all(tmp_path)
    make_backups(tmp_path / "log", 2, compress=True)
    wait_for_compression()

    assert left == {"log.1": content}
    assert read_all(tmp_path) == {"log.1.gz": content}


def test_file_that_waits_for_its_turn_is_left_alone_after_closing(tmp_path: Path) -> None:
    busy = make_backups(tmp_path / "busy", 1, compress=True)
    waiting = make_backups(tmp_path / "waiting", 1, compress=True)
    wait_for_compression()
    push(busy, tmp_path / "busy", os.urandom(LONG))
    push(waiting, tmp_path / "waiting", b"a")

    waiting.close()
    wait_for_compression()

    assert {path.name for path in tmp_path.iterdir()} == {"busy.1.gz", "waiting.1"}


def test_supervisor_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    content = os.urandom(LONG)
    (tmp_path / "log").write_bytes(content)
    program = (
        "import sys, threading; from mocker.supervisor.log_backups import Backups\n"
        "backups = Backups(1, compress=True)\n"
        "backups.follow(sys.argv[1])\n"
        "backups.push()\n"
        "threading.Event().wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path / "log"]) as process:
        while not (tmp_path / "log.gz.tmp").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)

    (tmp_path / "log.gz.tmp").unlink(missing_ok=True)
    assert list(read_all(tmp_path).values()) == [content]


@requires_user_namespaces
def test_full_disk_leaves_the_original_until_there_is_room(
    in_new_namespaces: InNewNamespaces,
) -> None:
    content = os.urandom(40_000)

    def compress_twice() -> tuple[list[str], OSError | None, dict[str, bytes], OSError | None]:
        mount("tmpfs", "/tmp", "tmpfs", data="size=64k")
        directory = Path("/tmp")
        backups = make_backups(directory / "log", 3, compress=True)
        push(backups, directory / "log", content)
        wait_for_compression()
        names, error = [path.name for path in directory.iterdir()], backups.error
        mount("", "/tmp", "", MS_REMOUNT, "size=256k")
        push(backups, directory / "log", b"b")
        wait_for_compression()
        return names, error, read_all(directory), backups.error

    names, error, files, error_at_last = in_new_namespaces(compress_twice)

    assert names == ["log.1"]
    assert error is not None
    assert error.errno == errno.ENOSPC
    assert files == {"log.1.gz": b"b", "log.2.gz": content}
    assert error_at_last is None


@requires_user
def test_thread_that_is_refused_is_tried_again(tmp_path: Path) -> None:
    backups = make_backups(tmp_path / "log", 3, compress=True)
    wait_for_compression()
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    try:
        push(backups, tmp_path / "log", b"a")
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
    error, left = backups.error, read_all(tmp_path)

    push(backups, tmp_path / "log", b"b")
    wait_for_compression()

    assert error is not None
    assert error.errno == errno.EAGAIN
    assert left == {"log.1": b"a"}
    assert read_all(tmp_path) == {"log.1.gz": b"b", "log.2.gz": b"a"}
    assert backups.error is None
