import errno
import gzip
import os
import pty
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation.syscalls import MS_RDONLY, mount
from mocker.supervisor import sink_file
from mocker.supervisor.sink_file import LogFile, Rotation
from tests.in_namespaces import InNewNamespaces
from tests.requirements import requires_root, requires_user, requires_user_namespaces

MS_REMOUNT = 0x20
MS_BIND = 0x1000
LINES = [b"%019d\n" % number for number in range(10_000)]  # 20 bytes each


@pytest.fixture(autouse=True)
def _each_write_looks_at_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_file, "_TRUST_S", 0.0)


@contextmanager
def set_umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    yield
    os.umask(before)


def write(log: LogFile, *pieces: bytes) -> None:
    assert log.write(list(pieces)) == ([], None)


def wait_for_compression() -> None:
    for thread in threading.enumerate():
        if thread.name == "compress":
            thread.join(10)


def get_errno(error: OSError | None) -> int | None:
    return error.errno if error else None


def read_all(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_pieces_are_written_in_order_behind_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"zero\n")

    with closing(LogFile(str(tmp_path / "log"))) as log:
        write(log, b"one\n", b"two\n")
        write(log, b"three\n")

    assert read_all(tmp_path) == {"log": b"zero\none\ntwo\nthree\n"}


def test_file_is_opened_by_writing_nothing(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"))) as log:
        opened_before = log.fd

        write(log)

        assert opened_before is None
        assert log.fd is not None
    assert read_all(tmp_path) == {"log": b""}


def test_file_of_fifty_bytes_is_rotated_between_lines(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"), Rotation(50, 3))) as log:
        for line in LINES[:10]:
            write(log, line)

    assert read_all(tmp_path) == {
        "log": b"".join(LINES[8:10]),
        "log.1": b"".join(LINES[6:8]),
        "log.2": b"".join(LINES[4:6]),
        "log.3": b"".join(LINES[2:4]),
    }


def test_chunk_is_split_behind_the_last_line_that_fits(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"), Rotation(90, 10))) as log:
        write(log, b"".join(LINES[:3]))
        write(log, b"".join(LINES[3:9]))

    assert read_all(tmp_path) == {
        "log": LINES[8], "log.1": b"".join(LINES[4:8]), "log.2": b"".join(LINES[:4])
    }  # fmt: skip


def test_file_is_filled_to_the_last_byte(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"), Rotation(40, 2))) as log:
        write(log, LINES[0], LINES[1])

    assert read_all(tmp_path) == {"log": LINES[0] + LINES[1]}


def test_line_that_is_longer_than_a_file_has_one_of_its_own(tmp_path: Path) -> None:
    long = b"x" * 100 + b"\n"

    with closing(LogFile(str(tmp_path / "log"), Rotation(50, 9))) as log:
        write(log, b"one\n" + long + b"two\n" + long + long)
        write(log, b"three\n")

    files = read_all(tmp_path)
    assert [files[name] for name in sorted(files, reverse=True)] == [
        b"one\n", long, b"two\n", long, long, b"three\n"
    ]  # fmt: skip


def test_line_that_comes_in_parts_is_not_split(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"), Rotation(10, 9))) as log:
        write(log, b"one\nbegin ")
        write(log, b"middle ")
        write(log, b"end\ntwo\n")

    assert read_all(tmp_path) == {"log": b"two\n", "log.1": b"one\nbegin middle end\n"}


@pytest.mark.slow
@given(
    st.lists(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"") + b"\n"))),
    st.integers(1, 100),
)
def test_no_line_is_split_or_lost(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[list[bytes]], max_size: int
) -> None:
    directory = tmp_path_factory.mktemp("logs")
    lines = [line for chunk in chunks for line in chunk]

    with closing(LogFile(str(directory / "log"), Rotation(max_size, 1000))) as log:
        for chunk in chunks:
            write(log, b"".join(chunk[:3]), *chunk[3:])

    files = read_all(directory)
    contents = [files[f"log.{number}"] for number in range(len(files) - 1, 0, -1)]
    contents += [files["log"]] if files else []
    assert b"".join(contents) == b"".join(lines)
    assert all(content.endswith(b"\n") for content in contents if content)
    assert all(len(content) <= max_size or content.count(b"\n") == 1 for content in contents)


def test_no_backup_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"), Rotation(50, 0, compress=True))) as log:
        for line in LINES[:5]:
            write(log, line)

    assert read_all(tmp_path) == {"log": LINES[4]}


def test_file_without_a_limit_is_never_rotated(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"))) as log:
        write(log, b"".join(LINES))
        write(log, b"".join(LINES))

    assert read_all(tmp_path) == {"log": b"".join(LINES) * 2}


def test_what_an_earlier_supervisor_left_is_rotated_as_well(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LINES[1] + LINES[2])
    (tmp_path / "log.1").write_bytes(LINES[0])

    with closing(LogFile(str(tmp_path / "log"), Rotation(50, 5))) as log:
        write(log, LINES[3])

    assert read_all(tmp_path) == {
        "log": LINES[3], "log.1": LINES[1] + LINES[2], "log.2": LINES[0]
    }  # fmt: skip


def test_backups_are_compressed(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"), Rotation(50, 5, compress=True))) as log:
        write(log, *LINES[:5])
        wait_for_compression()
        trouble = log.trouble

    files = read_all(tmp_path)
    assert sorted(files) == ["log", "log.1.gz", "log.2.gz"]
    assert gzip.decompress(files["log.2.gz"]) == LINES[0] + LINES[1]
    assert trouble is None


def test_other_size_and_number_of_backups_count_from_the_next_line_on(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"))) as log:
        write(log, *LINES[:4])
        log.rotate_as(Rotation(40, 2))

        write(log, *LINES[4:9])

    assert read_all(tmp_path) == {
        "log": LINES[8],
        "log.1": b"".join(LINES[6:8]),
        "log.2": b"".join(LINES[4:6]),
    }


def test_backups_are_compressed_once_that_is_asked(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"), Rotation(50, 5))) as log:
        write(log, *LINES[:5])
        log.rotate_as(Rotation(50, 5, compress=True))

        write(log, LINES[5])

        wait_for_compression()

    assert sorted(read_all(tmp_path)) == ["log", "log.1.gz", "log.2.gz"]


def test_backups_are_no_longer_compressed_once_that_is_asked(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"), Rotation(50, 5, compress=True))) as log:
        write(log, *LINES[:3])
        wait_for_compression()
        log.rotate_as(Rotation(50, 5))

        write(log, *LINES[3:5])

        wait_for_compression()

    assert sorted(read_all(tmp_path)) == ["log", "log.1", "log.2.gz"]


def test_other_rotation_leaves_a_fifo_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(reader, "rb"), closing(LogFile(str(tmp_path / "fifo"))) as log:
        write(log, b"one\n")
        before = log.fd
        log.rotate_as(Rotation(2, 5, compress=True))

        write(log, b"two\n")

        assert (log.fd, os.read(reader, 100)) == (before, b"one\ntwo\n")
    assert [path.name for path in tmp_path.iterdir()] == ["fifo"]


def test_file_is_not_for_everybody(tmp_path: Path) -> None:
    with set_umask(0o022), closing(LogFile(str(tmp_path / "logs" / "log"))) as log:
        write(log, b"one\n")

    assert stat.S_IMODE((tmp_path / "logs" / "log").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o750


def test_mode_stays_when_the_file_is_rotated(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    (tmp_path / "log").chmod(0o606)

    with closing(LogFile(str(tmp_path / "log"), Rotation(30, 5))) as log:
        write(log, *LINES[:2])

    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o606


@requires_root
def test_owner_stays_when_the_file_is_rotated(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    os.chown(tmp_path / "log", 12, 34)

    with closing(LogFile(str(tmp_path / "log"), Rotation(30, 5))) as log:
        write(log, *LINES[:2])

    status = (tmp_path / "log").stat()
    assert (status.st_uid, status.st_gid) == (12, 34)


def test_directory_is_made_but_not_the_one_above(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "logs" / "web" / "log"))) as log:
        rest, error = log.write([b"one\n"])
        (tmp_path / "logs").mkdir()
        write(log, *rest)

    assert get_errno(error) == errno.ENOENT
    assert (tmp_path / "logs" / "web" / "log").read_bytes() == b"one\n"


def test_removed_file_is_made_anew(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"))) as log:
        write(log, b"one\n")
        (tmp_path / "log").unlink()
        write(log, b"two\n")

    assert read_all(tmp_path) == {"log": b"two\n"}


def test_removed_file_is_missed_soon_however_fast_lines_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()

    with closing(LogFile(str(tmp_path / "log"))) as log:
        write(log, b"one\n")
        (tmp_path / "log").unlink()
        while not (tmp_path / "log").exists():
            write(log, b"two\n")

    assert read_all(tmp_path) == {"log": b"two\n"}


def test_moved_file_gets_no_more_lines(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"))) as log:
        write(log, b"one\n")
        (tmp_path / "log").rename(tmp_path / "old")
        (tmp_path / "log").write_bytes(b"new\n")  # as logrotate does with `create`
        write(log, b"two\n")

    assert read_all(tmp_path) == {"log": b"new\ntwo\n", "old": b"one\n"}


def test_moved_directory_is_made_anew(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "logs" / "log"))) as log:
        write(log, b"one\n")
        (tmp_path / "logs").rename(tmp_path / "old")
        write(log, b"two\n")

    assert (tmp_path / "old" / "log").read_bytes() == b"one\n"
    assert (tmp_path / "logs" / "log").read_bytes() == b"two\n"


def test_file_that_is_emptied_is_written_to_from_its_beginning(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"), Rotation(50, 5))) as log:
        write(log, *LINES[:2])
        os.truncate(tmp_path / "log", 0)  # as logrotate does with `copytruncate`
        write(log, *LINES[2:4])

    assert read_all(tmp_path) == {"log": LINES[2] + LINES[3]}


def test_path_is_opened_anew_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink_file, "_TRUST_S", 3600.0)

    with closing(LogFile(str(tmp_path / "log"))) as log:
        write(log, b"one\n")
        write(log, b"two\n")
        (tmp_path / "log").rename(tmp_path / "old")
        log.reopen()
        write(log, b"three\n")

    assert read_all(tmp_path) == {"log": b"three\n", "old": b"one\ntwo\n"}


def test_request_to_open_it_anew_is_heeded_though_the_path_was_just_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = LogFile._is_current

    def look_and_be_rotated(self: LogFile, opened: sink_file._Opened) -> bool:
        result = look(self, opened)
        if not (tmp_path / "old").exists():
            monkeypatch.setattr(sink_file, "_TRUST_S", 3600.0)
            (tmp_path / "log").rename(tmp_path / "old")
            log.reopen()
        return result

    with closing(LogFile(str(tmp_path / "log"))) as log:
        write(log, b"one\n")
        monkeypatch.setattr(LogFile, "_is_current", look_and_be_rotated)
        write(log, b"two\n")
        write(log, b"three\n")

    assert read_all(tmp_path) == {"log": b"three\n", "old": b"one\ntwo\n"}


def test_file_that_was_moved_a_moment_ago_is_not_rotated_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_file, "_TRUST_S", 3600.0)

    with closing(LogFile(str(tmp_path / "log"), Rotation(50, 5))) as log:
        write(log, LINES[0])
        write(log, LINES[1])
        (tmp_path / "log").rename(tmp_path / "log.1")
        write(log, LINES[2])

    assert read_all(tmp_path) == {"log": LINES[2], "log.1": LINES[0] + LINES[1]}


def test_link_is_followed_and_backups_are_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "log").symlink_to("disk/web")

    with closing(LogFile(str(tmp_path / "log"), Rotation(30, 5))) as log:
        write(log, *LINES[:2])

    assert (tmp_path / "log").is_symlink()
    assert read_all(tmp_path / "disk") == {"web": LINES[1], "web.1": LINES[0]}


def test_link_that_is_turned_is_followed(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("one")

    with closing(LogFile(str(tmp_path / "log"), Rotation(30, 5))) as log:
        write(log, LINES[0])
        (tmp_path / "log").unlink()
        (tmp_path / "log").symlink_to("two")
        write(log, *LINES[1:3])

    (tmp_path / "log").unlink()
    assert read_all(tmp_path) == {"one": LINES[0], "two": LINES[2], "two.1": LINES[1]}


def test_backups_that_cannot_be_named_cost_no_line(tmp_path: Path) -> None:
    (tmp_path / "log.1" / "full").mkdir(parents=True)

    with closing(LogFile(str(tmp_path / "log"), Rotation(30, 1))) as log:
        write(log, *LINES[:2])
        write(log, LINES[2])
        trouble = log.trouble
        kept = (tmp_path / "log").read_bytes()
        (tmp_path / "log.1" / "full").rmdir()
        (tmp_path / "log.1").rmdir()
        write(log, LINES[3])

        assert log.trouble is None
    assert get_errno(trouble) == errno.EISDIR
    assert kept == b"".join(LINES[:3])
    assert read_all(tmp_path) == {"log": LINES[3], "log.1": b"".join(LINES[:3])}


@requires_user
def test_directory_that_may_not_be_changed_costs_no_line(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    tmp_path.chmod(0o500)

    with closing(LogFile(str(tmp_path / "log"), Rotation(30, 1))) as log:
        write(log, *LINES[:3])
        trouble = log.trouble
    tmp_path.chmod(0o700)

    assert get_errno(trouble) == errno.EACCES
    assert read_all(tmp_path) == {"log": b"".join(LINES[:3])}


@requires_user_namespaces
def test_file_that_is_a_mount_of_its_own_is_written_on(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def write_lines() -> tuple[int | None, dict[str, bytes]]:
        mount("tmpfs", "/tmp", "tmpfs")
        for name in ("log", "outside"):
            Path("/tmp", name).touch()
        mount("/tmp/outside", "/tmp/log", "", MS_BIND)
        with closing(LogFile("/tmp/log", Rotation(30, 5))) as log:
            write(log, *LINES[:3])
            return get_errno(log.trouble), read_all(Path("/tmp"))

    number, files = in_new_namespaces(write_lines)

    assert number == errno.EBUSY
    assert files == {"log": b"".join(LINES[:3]), "outside": b"".join(LINES[:3])}


@requires_user_namespaces
def test_full_disk_keeps_the_rest_and_goes_on_in_the_middle_of_a_line(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def fill() -> tuple[int | None, int, dict[str, bytes]]:
        mount("tmpfs", "/tmp", "tmpfs", data="size=16k")
        with closing(LogFile("/tmp/log", Rotation(20_000, 5))) as log:
            rest, error = log.write([b"".join(LINES[:500]), b"".join(LINES[500:1500])])
            size = Path("/tmp/log").stat().st_size
            again, error_again = log.write(rest)
            assert again == rest
            assert error_again is not None
            mount("", "/tmp", "", MS_REMOUNT, "size=64k")
            write(log, *rest)
        return get_errno(error), size, read_all(Path("/tmp"))

    number, size, files = in_new_namespaces(fill)

    assert number == errno.ENOSPC
    assert size == 16384  # which is in the middle of a line
    assert files == {"log": b"".join(LINES[1000:1500]), "log.1": b"".join(LINES[:1000])}


@requires_user_namespaces
def test_full_disk_is_free_again_once_the_file_is_removed(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def fill() -> dict[str, bytes]:
        mount("tmpfs", "/tmp", "tmpfs", data="size=16k")
        with closing(LogFile("/tmp/log")) as log:
            rest, _ = log.write([b"".join(LINES[:1000])])
            Path("/tmp/log").unlink()
            write(log, *rest)
        return read_all(Path("/tmp"))

    files = in_new_namespaces(fill)

    assert files == {"log": b"".join(LINES[:1000])[16384:]}


@requires_user_namespaces
def test_file_system_that_is_read_only_for_a_while_keeps_everything(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def write_lines() -> tuple[int | None, bytes]:
        mount("tmpfs", "/tmp", "tmpfs")
        mount("", "/tmp", "", MS_REMOUNT | MS_RDONLY)
        with closing(LogFile("/tmp/log")) as log:
            rest, error = log.write([b"one\n", b"two\n"])
            mount("", "/tmp", "", MS_REMOUNT)
            write(log, *rest, b"three\n")
        return get_errno(error), Path("/tmp/log").read_bytes()

    assert in_new_namespaces(write_lines) == (errno.EROFS, b"one\ntwo\nthree\n")


def test_directory_is_no_file(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path))) as log:
        assert log.write([b"one\n"])[0] == [b"one\n"]
        assert get_errno(log.write([])[1]) == errno.EISDIR


def test_fifo_without_a_reader_is_refused_until_there_is_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with closing(LogFile(str(tmp_path / "fifo"), Rotation(10, 3))) as log:
        rest, error = log.write([b"one\n" * 10])
        reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        write(log, *rest)

    with os.fdopen(reader, "rb") as fifo:
        assert fifo.read() == b"one\n" * 10
    assert get_errno(error) == errno.ENXIO
    assert [path.name for path in tmp_path.iterdir()] == ["fifo"]


def test_full_fifo_takes_the_rest_later(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    data = b"".join(LINES)
    with (
        os.fdopen(
            os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0
        ) as reader,
        closing(LogFile(str(tmp_path / "fifo"))) as log,
    ):
        rest, error = log.write([data])
        fd = log.fd
        read = b""
        while rest:
            read += reader.read(2**20)
            rest, _ = log.write(rest)
        read += reader.read(2**20)

    assert isinstance(error, BlockingIOError)
    assert fd is not None  # to wait for
    assert read == data


def test_full_fifo_leaves_of_several_pieces_what_it_has_not_taken(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    pieces = [b"a" * 50_000, b"b" * 50_000, b"c" * 50_000]
    with (
        os.fdopen(os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK), "rb") as reader,
        closing(LogFile(str(tmp_path / "fifo"))) as log,
    ):
        rest, error = log.write(pieces)
        taken = reader.read()

    assert isinstance(error, BlockingIOError)
    assert taken
    assert taken + b"".join(rest) == b"".join(pieces)


def test_what_a_full_fifo_refuses_is_not_copied(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    pieces = [b"a" * 50_000, b"b" * 50_000]
    with os.fdopen(reader, "rb"), closing(LogFile(str(tmp_path / "fifo"))) as log:
        log.write([bytes(2**20)])

        rest, _ = log.write(pieces)

    assert list(map(id, rest)) == list(map(id, pieces))


def test_more_pieces_than_the_kernel_takes_at_a_time_are_written(tmp_path: Path) -> None:
    with closing(LogFile(str(tmp_path / "log"))) as log:
        write(log, *LINES)

    assert (tmp_path / "log").read_bytes() == b"".join(LINES)


def test_fifo_keeps_what_its_reader_left_for_the_next_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with closing(LogFile(str(tmp_path / "fifo"))) as log:
        first = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        write(log, b"one\n")
        os.close(first)

        gone, missing = log.write([b"two\n"]), log.write([b"two\n"])
        second = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        write(log, *missing[0])

    with os.fdopen(second, "rb") as fifo:
        assert fifo.read() == b"one\ntwo\n"
    assert [get_errno(gone[1]), get_errno(missing[1])] == [errno.EPIPE, errno.EPIPE]


def test_fifo_without_a_reader_keeps_what_is_in_it_when_log_files_are_opened_anew(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "fifo")
    with closing(LogFile(str(tmp_path / "fifo"))) as log:
        first = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        write(log, b"one\n")
        os.close(first)
        log.reopen()

        rest, _ = log.write([b"two\n"])
        second = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        write(log, *rest)

    with os.fdopen(second, "rb") as fifo:
        assert fifo.read() == b"one\ntwo\n"


def test_fifo_in_the_place_of_one_without_a_reader_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with closing(LogFile(str(tmp_path / "fifo"))) as log:
        first = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        write(log, b"one\n")
        os.close(first)
        rest, _ = log.write([b"two\n"])
        (tmp_path / "fifo").unlink()
        os.mkfifo(tmp_path / "fifo")
        second = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)

        write(log, *rest)

    with os.fdopen(second, "rb") as fifo:
        assert fifo.read() == b"two\n"


def test_null_device_takes_everything_and_stays_what_it_is() -> None:
    with closing(LogFile("/dev/null", Rotation(10, 3))) as log:
        write(log, b"".join(LINES))

    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_terminal_gets_lines_and_does_not_block_when_it_is_stopped() -> None:
    controller, terminal = pty.openpty()
    with (
        os.fdopen(controller, "rb", buffering=0) as screen,
        os.fdopen(terminal, "wb", buffering=0),
        closing(LogFile(os.ttyname(terminal), Rotation(10, 3))) as log,
    ):
        write(log, b"one\n")
        shown = screen.read(100)

        rest, error = log.write([b"".join(LINES)])

        assert os.get_blocking(terminal)
    assert shown == b"one\r\n"
    assert isinstance(error, BlockingIOError)
    assert 0 < len(rest[0]) < 20 * len(LINES)


def test_file_of_two_writers_is_rotated_by_the_size_that_it_has(tmp_path: Path) -> None:
    with (
        closing(LogFile(str(tmp_path / "log"), Rotation(50, 5))) as one,
        closing(LogFile(str(tmp_path / "log"), Rotation(50, 5))) as other,
    ):
        for number in range(0, 8, 2):
            write(one, LINES[number])
            write(other, LINES[number + 1])

    assert read_all(tmp_path) == {
        name: b"".join(LINES[start : start + 2])
        for name, start in (("log", 6), ("log.1", 4), ("log.2", 2), ("log.3", 0))
    }
