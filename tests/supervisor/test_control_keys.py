"""The table [control]: who may look, where else it listens, and with what token."""

import grp
import os
import pwd
from pathlib import Path

import pytest

from mocker.supervisor.config import ControlConfig
from tests.configs import WEB, find_mistakes, load
from tests.requirements import requires_root

NOT_AN_ADDRESS = "must be an address and a port, such as '127.0.0.1:9000' or '[::1]:9000', not"
UNFIT = "must hold 1 to 1024 visible ASCII characters, without spaces"
LISTEN = "listen = '127.0.0.1:9000'\n"
TOKEN = {"MOCKER_TOKEN": "s3cret"}


def read(directory: Path, keys: str) -> ControlConfig:
    return load(directory, f"[control]\n{keys}\n{WEB}", TOKEN).control


def refuse(directory: Path, keys: str) -> list[str]:
    return find_mistakes(directory, f"[control]\n{keys}\n{WEB}", TOKEN)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "control.token"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    return path


def test_nobody_else_may_look_and_nothing_listens_by_default(tmp_path: Path) -> None:
    assert load(tmp_path, WEB).control == ControlConfig()
    assert read(tmp_path, "") == ControlConfig()


def test_readers_are_users_and_groups_by_name_or_number(tmp_path: Path) -> None:
    user, group = pwd.getpwall()[-1], grp.getgrall()[-1]
    readers = [f"user:{user.pw_name}", "user:1234", f"group:{group.gr_name}", "group:5678"]

    control = read(tmp_path, f"read = {readers}")

    assert control.uids == {user.pw_uid, 1234}
    assert control.gids == {group.gr_gid, 5678}


def test_only_reader_needs_no_array(tmp_path: Path) -> None:
    assert read(tmp_path, "read = 'group:7'").gids == {7}


@pytest.mark.parametrize(
    ("reader", "mistake"),
    [
        ("'grup:7'", "must be 'user:NAME' or 'group:NAME', not 'grup:7'; did you mean 'group'?"),
        ("'alice'", "must be 'user:NAME' or 'group:NAME', not 'alice'"),
        ("'user:'", "must be 'user:NAME' or 'group:NAME', not 'user:'"),
        ("'user'", "must be 'user:NAME' or 'group:NAME', not 'user'"),
        ("'user:no-such'", "must be a user of this host, not 'no-such'"),
        ("'group:no-such'", "must be a group of this host, not 'no-such'"),
        ("'user:-1'", "must be a user of this host, not '-1'"),
        ("'user:4294967295'", "must have a number from 0 to 4294967294, not '4294967295'"),
        ("7", "must be text, not 7"),
    ],
)
def test_reader_that_cannot_be_meant_is_a_mistake(
    tmp_path: Path, reader: str, mistake: str
) -> None:
    assert refuse(tmp_path, f"read = ['user:0', {reader}]") == [f"2: control.read[1]: {mistake}"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9000", ("127.0.0.1", 9000)),
        ("[::1]:9000", ("::1", 9000)),
        ("[0:0::1]:80", ("::1", 80)),
        ("192.0.2.1:65535", ("192.0.2.1", 65535)),
    ],
)
def test_address_has_a_port(tmp_path: Path, text: str, address: tuple[str, int]) -> None:
    control = read(tmp_path, f"listen = '{text}'\ntoken = '${{MOCKER_TOKEN}}'")

    assert (control.listen, control.token) == (address, "s3cret")


@pytest.mark.parametrize(
    "text",
    [
        "9000",
        ":9000",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.1:9000",
        "::1:9000",
        "[127.0.0.1]:9000",
        "localhost:9000",
        "[fe80::1%lo]:9000",
        "",
    ],
)
def test_anything_else_is_no_address(tmp_path: Path, text: str) -> None:
    keys = f"token = '${{MOCKER_TOKEN}}'\nlisten = '{text}'"

    assert refuse(tmp_path, keys) == [f"3: control.listen: {NOT_AN_ADDRESS} {text!r}"]


def test_listener_without_a_token_is_a_mistake(tmp_path: Path) -> None:
    expected = "2: control.listen: needs token_file, or token = '${VARIABLE}'"

    assert refuse(tmp_path, LISTEN) == [expected]


def test_token_that_may_be_in_what_cannot_be_read_is_not_missed(tmp_path: Path) -> None:
    mistakes = refuse(tmp_path, f"{LISTEN}token = = 'x'")

    assert [mistake.partition(":")[0] for mistake in mistakes] == ["3"]


@pytest.mark.usefixtures("token_file")
def test_file_holds_the_token(tmp_path: Path) -> None:
    control = read(tmp_path, f"{LISTEN}token_file = 'control.token'")

    assert control.token == TOKEN["MOCKER_TOKEN"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620])
def test_file_that_others_can_read_or_write_is_a_mistake(
    tmp_path: Path, token_file: Path, mode: int
) -> None:
    token_file.chmod(mode)
    expected = f"must be its owner's alone, not of mode {mode:04o}; chmod 600 it"

    mistakes = refuse(tmp_path, f"{LISTEN}token_file = 'control.token'")

    assert mistakes == [f"3: control.token_file: {expected}"]


@requires_root
def test_file_of_somebody_else_is_a_mistake(tmp_path: Path, token_file: Path) -> None:
    os.chown(token_file, 1234, -1)

    mistakes = refuse(tmp_path, f"{LISTEN}token_file = 'control.token'")

    expected = "must be this user's or root's, not user 1234's"
    assert mistakes == [f"3: control.token_file: {expected}"]


def test_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    (mistake,) = refuse(tmp_path, f"{LISTEN}token_file = 'control.token'")

    assert mistake.startswith("3: control.token_file: cannot be read: No such file")


@pytest.mark.parametrize("token", ["", " ", "two words", "schlüssel", "x" * 1025])
def test_token_is_what_a_request_can_bring_and_is_not_shown(
    tmp_path: Path, token_file: Path, token: str
) -> None:
    token_file.write_text(token)

    mistakes = refuse(tmp_path, f"{LISTEN}token_file = 'control.token'")

    assert mistakes == [f"3: control.token_file: {UNFIT}"]


def test_token_is_not_shown_with_the_rest(tmp_path: Path) -> None:
    control = read(tmp_path, f"{LISTEN}token = '${{MOCKER_TOKEN}}'")

    assert "s3cret" not in repr(control)


def test_token_itself_may_stand_in_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").touch(mode=0o600)

    assert read(tmp_path, f"{LISTEN}token = 's3cret'").token == TOKEN["MOCKER_TOKEN"]


def test_token_itself_in_a_file_that_others_read_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").touch()
    (tmp_path / "jobs.toml").chmod(0o644)

    (mistake,) = refuse(tmp_path, f"{LISTEN}token = 's3cret'")

    text = "is in a file that must be its owner's alone, not of mode 0644; chmod 600 it"
    assert mistake == f"3: control.token: {text}"


@pytest.mark.usefixtures("token_file")
@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        (
            f"{LISTEN}token = '${{MOCKER_TOKEN}}'\ntoken_file = 'control.token'",
            "3: control.token: is there twice; have either it or token_file",
        ),
        (
            "token = '${MOCKER_TOKEN}'",
            "2: control.token: is for listen, which is missing",
        ),
        (
            "token_file = 'control.token'",
            "2: control.token_file: is for listen, which is missing",
        ),
        ("lisen = 1", "2: control.lisen: unknown key; did you mean 'listen'?"),
        (
            f"{LISTEN}token = '${{MISSING}}'",
            "3: control.token: variable MISSING is not defined; ${MISSING:-…} gives it a default",
        ),
    ],
)
def test_keys_that_cannot_be_so_are_mistakes(tmp_path: Path, keys: str, mistake: str) -> None:
    assert refuse(tmp_path, keys) == [mistake]


def test_anything_but_a_table_is_a_mistake(tmp_path: Path) -> None:
    assert find_mistakes(tmp_path, f"control = 7\n{WEB}") == ["1: control: must be a table, not 7"]
