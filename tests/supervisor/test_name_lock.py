import os
import re
import stat
from pathlib import Path

import pytest

from mocker.supervisor.name_lock import (
    NameNotHeldError,
    find_runtime_directory,
    hold_name,
    list_runtime_directories,
)
from tests.requirements import requires_root


def test_name_is_held_by_one(tmp_path: Path) -> None:
    expected = f"cannot use the name 'demo': supervisor {os.getpid()} has it"

    with (
        hold_name("demo", str(tmp_path / "mocker")),
        pytest.raises(NameNotHeldError, match=expected),
        hold_name("demo", str(tmp_path / "mocker")),
    ):
        pass


def test_two_names_are_two_things(tmp_path: Path) -> None:
    with hold_name("one", str(tmp_path)), hold_name("two", str(tmp_path)):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["one.lock", "two.lock"]


def test_name_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_name("demo", str(tmp_path)):
            assert (tmp_path / "demo.lock").read_text() == f"{os.getpid()}\n"


def test_what_an_earlier_supervisor_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "demo.lock").write_text("123456789012\n")

    with hold_name("demo", str(tmp_path)):
        assert (tmp_path / "demo.lock").read_text() == f"{os.getpid()}\n"


def test_directory_is_its_users_alone(tmp_path: Path) -> None:
    directory = tmp_path / "mocker"
    directory.mkdir()
    directory.chmod(0o777)

    with hold_name("demo", str(directory)):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_directory_that_others_get_through_stays_so(tmp_path: Path) -> None:
    directory = tmp_path / "mocker"
    directory.mkdir()
    directory.chmod(0o711)

    with hold_name("demo", str(directory)):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o711


@requires_root
def test_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "mocker"
    directory.mkdir()
    os.chown(directory, 65534, 65534)

    with (
        pytest.raises(NameNotHeldError, match=f"{re.escape(str(directory))}: Permission denied"),
        hold_name("demo", str(directory)),
    ):
        pass


def test_link_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mocker").symlink_to("elsewhere")

    with pytest.raises(NameNotHeldError), hold_name("demo", str(tmp_path / "mocker")):
        pass


def test_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "demo.lock").symlink_to("precious")

    with pytest.raises(NameNotHeldError, match="Too many"), hold_name("demo", str(tmp_path)):
        pass

    assert (tmp_path / "precious").read_text() == "kept"


@pytest.mark.parametrize(
    ("env", "uid", "directory"),
    [
        ({"XDG_RUNTIME_DIR": "/run/nobody/7"}, 7, "/run/nobody/7/mocker"),
        ({"XDG_RUNTIME_DIR": "relative"}, 7, "/tmp/mocker-7"),
        ({"XDG_RUNTIME_DIR": "/proc"}, 7, "/tmp/mocker-7"),  # somebody else's
        ({"XDG_RUNTIME_DIR": ""}, 7, "/tmp/mocker-7"),
        ({}, 7, "/tmp/mocker-7"),
    ],
)
def test_directory_is_found_from_the_environment(
    env: dict[str, str], uid: int, directory: str
) -> None:
    assert find_runtime_directory(env, uid) == directory


@requires_root
def test_root_has_a_directory_of_the_systems() -> None:
    assert find_runtime_directory({}, 0) == "/run/mocker"


@pytest.mark.parametrize(
    ("runtime", "uid", "directories"),
    [
        ("", 7, ["/run/user/7/mocker", "/tmp/mocker-7"]),
        ("/run/user/7", 7, ["/run/user/7/mocker", "/tmp/mocker-7"]),
        ("/run/user/7/", 7, ["/run/user/7/mocker", "/tmp/mocker-7"]),
        ("/proc", 7, ["/run/user/7/mocker", "/tmp/mocker-7"]),  # somebody else's
        ("", 0, ["/run/user/0/mocker", "/run/mocker", "/tmp/mocker-0"]),
        ("/run", 0, ["/run/mocker", "/run/user/0/mocker", "/tmp/mocker-0"]),
        ("/run/nobody/7", 7, ["/run/nobody/7/mocker"]),  # apart from all others
    ],
)
def test_supervisors_are_wherever_the_system_may_have_put_them(
    runtime: str, uid: int, directories: list[str]
) -> None:
    assert list_runtime_directories({"XDG_RUNTIME_DIR": runtime}, uid) == directories
