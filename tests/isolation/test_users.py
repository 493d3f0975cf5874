import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation import SetupError
from mocker.isolation.syscalls import mount
from mocker.isolation.tape import perform
from mocker.isolation.user_mapping import plan_user_mapping
from mocker.isolation.users import User, become, look_up_user
from tests.in_namespaces import InNewNamespaces
from tests.requirements import requires_subordinate_ids, requires_user_namespaces

pytestmark = requires_user_namespaces

USERS = """\
root:x:0:0:root:/root:/bin/sh
ann:x:1000:1000:Ann:/home/ann:/bin/sh
bob:x:1001:100::/home/bob
homeless:x:1002:1002:::
short:x:1003:7
"""
GROUPS = """\
root:x:0:
users:x:100:ann,bob
wheel:x:10:ann
empty:x:11:
odd:x:none:ann
ann:x:1000:
"""

Fields = tuple[int, int, tuple[int, ...], str]
LookUp = Callable[..., Fields]


def fields_of(user: User) -> Fields:
    return user.uid, user.gid, user.groups, user.home


def mount_etc(make: Callable[[Path], None]) -> None:
    """Replace /etc in the calling process's own mount namespace."""
    mount("none", "/etc", "tmpfs")
    make(Path("/etc"))


@pytest.fixture
def look_up(in_new_namespaces: InNewNamespaces) -> LookUp:
    """Look a user up in these files."""

    def look_up(
        user: str | None, users: str = USERS, groups: str = GROUPS, home_uid: int = 0
    ) -> Fields:
        def make(etc: Path) -> None:
            (etc / "passwd").write_bytes(users.encode(errors="surrogateescape"))
            (etc / "group").write_bytes(groups.encode(errors="surrogateescape"))

        def act() -> Fields:
            mount_etc(make)
            return fields_of(look_up_user(user, home_uid))

        return in_new_namespaces(act)

    return look_up


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        (None, (0, 0, (), "/root")),
        ("root", (0, 0, (), "/root")),
        ("0", (0, 0, (), "/root")),
        ("ann", (1000, 1000, (100, 10), "/home/ann")),
        ("1000", (1000, 1000, (100, 10), "/home/ann")),
        ("001000", (1000, 1000, (100, 10), "/home/ann")),
        ("bob", (1001, 100, (100,), "/home/bob")),
        ("ann:wheel", (1000, 10, (), "/home/ann")),
        ("ann:0", (1000, 0, (), "/home/ann")),
        ("ann:4242", (1000, 4242, (), "/home/ann")),
        ("homeless", (1002, 1002, (), "/")),
        ("short", (1003, 7, (), "/")),
        ("4242", (4242, 0, (), "/")),
        ("4242:users", (4242, 100, (), "/")),
        ("4294967294:4294967294", (4294967294, 4294967294, (), "/")),
    ],
)
def test_user_is_found_by_name_or_number(
    look_up: LookUp, user: str | None, expected: Fields
) -> None:
    assert look_up(user) == expected


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("carol", "cannot find user 'carol' in /etc/passwd; the container has no such"),
        ("ANN", "cannot find user 'ANN'"),
        ("ann:carol", "cannot find group 'carol' in /etc/group; the container has no such"),
        ("4294967295", "cannot use '4294967295' as an ID; IDs are numbers from 0 to 4294967294"),
        ("0:4294967295", "cannot use '4294967295' as an ID"),
        pytest.param("9" * 5000, "cannot use '9+' as an ID", id="5000 digits"),
    ],
)
def test_user_that_is_not_there_is_refused(look_up: LookUp, user: str, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        look_up(user)


@pytest.mark.parametrize(("home_uid", "home"), [(0, "/root"), (1000, "/home/ann"), (4242, "/")])
def test_root_is_at_home_where_the_caller_is(look_up: LookUp, home_uid: int, home: str) -> None:
    assert look_up(None, home_uid=home_uid) == (0, 0, (), home)


@pytest.mark.parametrize(
    "junk",
    ["", ":", "::", "ann", "ann:x", "ann:x:5", "#ann:x", "\0", "\udcff\udcfe", "+"],
)
def test_line_that_is_none_is_passed_over(look_up: LookUp, junk: str) -> None:
    found = look_up("ann:wheel", users=f"{junk}\n{USERS}", groups=f"{junk}\n{GROUPS}")

    assert found == (1000, 10, (), "/home/ann")


def test_first_of_two_entries_counts(look_up: LookUp) -> None:
    found = look_up("eve", users="eve:x:5:6::/first:\neve:x:7:8::/second:\n")

    assert found == (5, 6, (), "/first")


def test_entry_whose_number_is_none_is_refused(look_up: LookUp) -> None:
    with pytest.raises(SetupError, match="cannot use 'x' as an ID"):
        look_up("ann", users="ann:x:x:6::/:\n")


def test_group_whose_number_is_too_big_is_refused(look_up: LookUp) -> None:
    with pytest.raises(SetupError, match="cannot use '99999999999' as an ID"):
        look_up("ann", groups="wheel:x:99999999999:ann\n")


def test_name_of_any_bytes_is_found(look_up: LookUp) -> None:
    assert look_up("\udcff", users="\udcff:x:5:6::/\udcfe:\n") == (5, 6, (), "/\udcfe")


@pytest.mark.parametrize(
    "make",
    [
        lambda etc: None,
        lambda etc: os.mkfifo(etc / "passwd"),
        lambda etc: (etc / "passwd").mkdir(),
        lambda etc: (etc / "passwd").symlink_to("passwd"),
        lambda etc: (etc / "passwd").symlink_to("/nowhere"),
        lambda etc: (etc / "passwd").symlink_to("/dev/zero"),
    ],
    ids=["none", "fifo", "directory", "loop", "dangling", "outside"],
)
@pytest.mark.parametrize(("user", "home"), [(None, "/"), ("1000:10", "/")])
def test_container_without_a_passwd_file_has_its_numbers(
    in_new_namespaces: InNewNamespaces, make: Callable[[Path], None], user: str | None, home: str
) -> None:
    def act() -> Fields:
        mount_etc(make)
        return fields_of(look_up_user(user, 0))

    uid, gid, groups, found = in_new_namespaces(act)

    assert (uid, gid, groups, found) == ((0, 0) if user is None else (1000, 10)) + ((), home)


def test_huge_file_is_read_to_a_limit(in_new_namespaces: InNewNamespaces) -> None:
    def make(etc: Path) -> None:
        with (etc / "passwd").open("wb") as file:
            file.write(USERS.encode())
            file.truncate(2**40)

    def act() -> Fields:
        mount_etc(make)
        return fields_of(look_up_user("ann", 0))

    assert in_new_namespaces(act) == (1000, 1000, (), "/home/ann")


@pytest.mark.slow
def test_whatever_the_files_hold_a_user_comes_out_or_a_refusal(
    in_new_namespaces: InNewNamespaces,
) -> None:
    words = st.sampled_from(["ann", "0", "1", "-1", "", "x", "99999999999", "²", "٣", "\udcff"])
    lines = st.lists(words, max_size=8).map(":".join)
    texts = st.one_of(st.lists(lines, max_size=6).map("\n".join), st.binary().map(os.fsdecode))

    @given(passwd=texts, group=texts, user=st.sampled_from(["ann", "ann:ann", "0", "x"]))
    def try_files(passwd: str, group: str, user: str) -> None:
        Path("/etc/passwd").write_bytes(os.fsencode(passwd))
        Path("/etc/group").write_bytes(os.fsencode(group))
        try:
            found = look_up_user(user, 0)
        except SetupError:
            return
        ids = (found.uid, found.gid, *found.groups)
        assert all(0 <= number < 2**32 - 1 for number in ids)

    def act() -> None:
        mount_etc(lambda etc: None)
        try_files()

    in_new_namespaces(act)


@requires_subordinate_ids
def test_process_becomes_the_user_for_good(in_new_namespaces: InNewNamespaces) -> None:
    mapping = plan_user_mapping()

    def act() -> tuple[object, ...]:
        perform(become(User(1000, 100, (10, 20), "/"), mapping))
        return os.getresuid(), os.getresgid(), os.getgroups()

    assert in_new_namespaces(act) == ((1000,) * 3, (100,) * 3, [10, 20])


@requires_subordinate_ids
@pytest.mark.parametrize(
    "user",
    [User(10**6, 0, (), "/"), User(0, 10**6, (), "/"), User(0, 0, (10**6,), "/")],
    ids=["user", "group", "supplementary group"],
)
def test_id_that_the_container_does_not_have_is_refused(
    in_new_namespaces: InNewNamespaces, user: User
) -> None:
    mapping = plan_user_mapping()

    with pytest.raises(SetupError, match=r"cannot become user .*; the container has"):
        in_new_namespaces(lambda: become(user, mapping))
