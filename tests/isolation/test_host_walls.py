import os
from collections.abc import Callable
from errno import EINVAL, ENOSYS, EPERM
from pathlib import Path

import pytest

from mocker.isolation import SetupError
from mocker.isolation.capabilities import NUMBERS
from mocker.isolation.host_walls import (
    check_capabilities,
    check_core_dumps,
    check_keyring,
    check_landlock,
    check_mapped_mounts,
    check_no_new_privs,
    check_seccomp,
)
from mocker.isolation.landlock import find_landlock
from mocker.isolation.syscalls import PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, prctl
from tests.in_namespaces import run_in_child
from tests.refusals import PR_SET_SECCOMP, Refusal, bind, enter_private_mounts, refuse_system_calls
from tests.requirements import requires_root, requires_user_namespaces

CORE_PATTERN = "/proc/sys/kernel/core_pattern"


def find_refusal(check: Callable[[], object], prepare: Callable[[], object]) -> str:
    """Return what a check says in a process that did `prepare` first."""

    def act() -> str:
        prepare()
        with pytest.raises(SetupError) as caught:
            check()
        return str(caught.value)

    return run_in_child(act)


def test_landlock_is_told_with_its_version() -> None:
    assert check_landlock() == f"version {find_landlock()}"


def test_landlock_that_is_not_to_be_had_is_told() -> None:
    prepare = lambda: refuse_system_calls([Refusal("landlock_create_ruleset", ENOSYS)])  # noqa: E731

    text = find_refusal(check_landlock, prepare)

    assert text.startswith("cannot put up a wall by landlock: Function not implemented (ENOSYS); ")


def test_new_privileges_that_are_forbidden_already_are_told() -> None:
    def act() -> str:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        return check_no_new_privs()

    assert check_no_new_privs() == "available"
    assert run_in_child(act).startswith("in force already; ")


def test_default_filter_is_loaded() -> None:
    prepare = lambda: refuse_system_calls([Refusal("prctl", EINVAL, first=PR_SET_SECCOMP)])  # noqa: E731

    text = find_refusal(check_seccomp, prepare)

    assert check_seccomp().startswith("the default filter can be loaded")
    assert text.startswith("cannot filter system calls: Invalid argument (EINVAL)")


@requires_root
def test_capabilities_that_the_caller_lacks_are_told() -> None:
    text = find_refusal(check_capabilities, lambda: prctl(PR_CAPBSET_DROP, NUMBERS["SYS_CHROOT"]))

    assert "SYS_CHROOT" in text.partition(";")[0].removeprefix("cannot use ").split(", ")
    assert "; the caller does not have them; " in text


def test_keyring_is_asked_for() -> None:
    prepare = lambda: refuse_system_calls([Refusal("keyctl", EPERM)])  # noqa: E731

    text = find_refusal(check_keyring, prepare)

    assert check_keyring() == "available"
    reason = "Operation not permitted (EPERM); a seccomp filter forbids it"
    assert text == f"cannot have a session keyring: {reason}"


@requires_user_namespaces
@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("core.%p\n", "are files called 'core.%p'; "),
        ("|/usr/bin/catch %p %u\n", "are piped to /usr/bin/catch on the host; "),
    ],
)
def test_what_becomes_of_core_dumps_is_told(tmp_path: Path, pattern: str, text: str) -> None:
    stand_in = tmp_path / "pattern"
    stand_in.write_text(pattern)

    def act() -> str:
        enter_private_mounts()
        bind(stand_in, CORE_PATTERN)
        return check_core_dumps()

    assert run_in_child(act).startswith(text)


@requires_root
def test_file_system_without_owners_that_can_be_mapped_is_told() -> None:
    # The kernel maps to none but a namespace of others.
    own = os.open("/proc/self/ns/user", os.O_RDONLY)

    with pytest.raises(SetupError) as caught:
        check_mapped_mounts(own)

    os.close(own)
    assert caught.value.errno in {EINVAL, EPERM}
    assert str(caught.value).startswith("cannot map owners in /: ")
