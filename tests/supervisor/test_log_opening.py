"""How log files are opened: real files, in directories that are there or not."""

import os
from errno import ENXIO
from pathlib import Path

import pytest

from mocker.supervisor.log_opening import check_log, open_log
from tests.requirements import requires_user


def add(path: Path, text: bytes) -> None:
    fd = open_log(str(path))
    os.write(fd, text)
    os.close(fd)


def test_what_is_there_is_added_to(tmp_path: Path) -> None:
    log = tmp_path / "web.log"

    for text in (b"one\n", b"two\n"):
        add(log, text)

    assert (log.read_text(), log.stat().st_mode & 0o777) == ("one\ntwo\n", 0o640)


def test_its_directory_is_made_and_not_the_one_above(tmp_path: Path) -> None:
    add(tmp_path / "logs/web.log", b"one\n")

    with pytest.raises(FileNotFoundError):
        open_log(str(tmp_path / "no/such/web.log"))
    assert (tmp_path / "logs/web.log").read_text() == "one\n"
    assert not (tmp_path / "no").exists()


def test_nobody_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(OSError, match="No such device or address") as info:
        open_log(str(tmp_path / "fifo"))

    assert info.value.errno == ENXIO


@pytest.mark.parametrize("name", ["web.log", "logs/web.log", "link", "there", "fifo", "null"])
def test_look_at_what_can_be_written_makes_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("logs/other.log")
    (tmp_path / "there").write_text("one\n")
    (tmp_path / "null").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "fifo")
    before = sorted(tmp_path.rglob("*"))

    check_log(str(tmp_path / name))

    assert sorted(tmp_path.rglob("*")) == before


@requires_user
@pytest.mark.parametrize("name", ["closed/log", "closed/logs/log", "file"])
def test_what_nobody_may_write_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    (tmp_path / "file").touch(mode=0o444)

    with pytest.raises(PermissionError):
        check_log(str(tmp_path / name))
