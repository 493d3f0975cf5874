import os
from pathlib import Path

import pytest

from mocker.supervisor.text_file import MAX_BYTES, read_text_file
from tests.requirements import requires_user


def test_text_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("ä\r\n\n\u2028".encode())

    assert read_text_file(str(tmp_path / "file")) == "ä\r\n\n\u2028"


def test_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbfa")

    assert read_text_file(str(tmp_path / "file")) == "a"


def test_empty_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert read_text_file(str(tmp_path / "file")) == ""


def test_missing_file_is_told_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^cannot be read: No such file or directory \(ENOENT\)$"):
        read_text_file(str(tmp_path / "nosuch"))


@requires_user
def test_unreadable_file_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o200)

    with pytest.raises(ValueError, match=r"cannot be read: Permission denied \(EACCES\)"):
        read_text_file(str(tmp_path / "file"))


def test_directory_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^cannot be read: it is a directory$"):
        read_text_file(str(tmp_path))


def test_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(ValueError, match=r"^cannot be read: it is not a regular file$"):
        read_text_file(str(tmp_path / "fifo"))


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_device_is_none(path: str) -> None:
    with pytest.raises(ValueError, match="not a regular file"):
        read_text_file(path)


def test_file_of_the_greatest_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * MAX_BYTES)

    assert len(read_text_file(str(tmp_path / "file"))) == MAX_BYTES


def test_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(2**40)

    with pytest.raises(ValueError, match=r"^cannot be read: it has more than 4 MiB$"):
        read_text_file(str(tmp_path / "file"))


def test_file_that_refuses_to_be_read_is_told_with_the_reason() -> None:
    with pytest.raises(ValueError, match="cannot be read: Input/output error"):
        read_text_file("/proc/self/mem")


def test_what_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\nb\n\xff")

    with pytest.raises(ValueError, match=r"^is not UTF-8: byte 0xff in line 3$"):
        read_text_file(str(tmp_path / "file"))


def test_what_is_not_utf_8_is_kept_for_who_wants_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\xff\xc3\xa4")

    assert read_text_file(str(tmp_path / "file"), keep_bytes=True) == "a\udcffä"


def test_what_has_nul_bytes_is_no_text_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a\0\xff")

    with pytest.raises(ValueError, match=r"^is not UTF-8: byte 0xff in line 1$"):
        read_text_file(str(tmp_path / "file"), keep_bytes=True)


def test_path_with_a_nul_byte_is_none() -> None:
    with pytest.raises(ValueError, match=r"^cannot be read: a path has no NUL byte$"):
        read_text_file("a\0b")
