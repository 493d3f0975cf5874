import os
from pathlib import Path

import pytest

from mocker.isolation import SetupError
from mocker.isolation.dbus import render_call
from mocker.isolation.scope import (
    START,
    escape,
    find_manager,
    is_unit_delegated,
    list_arguments,
    start_scope,
)
from mocker.isolation.syscalls import CLONE_NEWNS, MS_REC, MS_SLAVE, mount, unshare
from tests.dbus import ERROR, callee, truth
from tests.in_namespaces import run_in_child
from tests.requirements import requires_root


def test_scope_is_asked_for_with_all_processes_and_controllers() -> None:
    message = render_call(START, list_arguments("a.scope", [5, 6]))

    assert b"StartTransientUnit" in message
    assert b"\x07\0\0\0a.scope\0\x04\0\0\0fail\0" in message
    assert b"\4\0\0\0PIDs\0\2au\0\0\0\0\x08\0\0\0\5\0\0\0\6\0\0\0" in message
    assert b"\x08\0\0\0Delegate\0\1b\0\1\0\0\0" in message


def test_refusal_of_a_scope_is_told_in_the_managers_words(tmp_path: Path) -> None:
    path = tmp_path / "private"

    with callee(path, ERROR), pytest.raises(SetupError) as caught:
        start_scope(str(path), [os.getpid()])

    assert str(caught.value) == "cannot start a scope of systemd's; systemd says not today"


@pytest.mark.parametrize("is_so", [True, False])
def test_manager_tells_whether_a_unit_is_delegated(tmp_path: Path, is_so: bool) -> None:
    path = tmp_path / "private"

    with callee(path, truth(is_so)) as said:
        assert is_unit_delegated(str(path), "my-app.service") is is_so

    assert b"/org/freedesktop/systemd1/unit/my_2dapp_2eservice\0" in said
    assert b"org.freedesktop.systemd1.Service\0\0\0\0\x08\0\0\0Delegate\0" in said


def test_unit_that_the_manager_does_not_know_is_not_delegated(tmp_path: Path) -> None:
    path = tmp_path / "private"

    with callee(path, ERROR):
        assert not is_unit_delegated(str(path), "a.scope")


def test_what_is_no_unit_is_not_asked_for(tmp_path: Path) -> None:
    assert not is_unit_delegated(str(tmp_path / "private"), "mocker-1-2")


@pytest.mark.parametrize(
    ("unit", "path"), [("a1.scope", "a1_2escope"), ("1a.scope", "_31a_2escope"), ("é", "_c3_a9")]
)
def test_name_of_a_unit_is_written_as_systemd_does(unit: str, path: str) -> None:
    assert escape(unit) == path


@requires_root
@pytest.mark.parametrize(
    ("uid", "there", "found"),
    [
        (0, ["system", "private"], "/run/systemd/private"),
        (0, ["system"], ""),
        (0, ["private"], ""),
        (7777, ["system", "user"], "/run/user/7777/systemd/private"),
        (7777, ["system", "private"], ""),
    ],
)
def test_manager_is_that_of_the_caller_where_systemd_has_booted(
    uid: int, there: list[str], found: str
) -> None:
    paths = {
        "system": Path("/run/systemd/system"),
        "private": Path("/run/systemd/private"),
        "user": Path("/run/user/7777/systemd/private"),
    }

    def act() -> str:
        os.environ.pop("XDG_RUNTIME_DIR", None)
        unshare(CLONE_NEWNS)
        mount("none", "/", "", MS_REC | MS_SLAVE)
        mount("none", "/run", "tmpfs")
        for name in there:
            paths[name].mkdir(parents=True)
        os.setresuid(uid, uid, uid)
        return find_manager()

    assert run_in_child(act) == found
