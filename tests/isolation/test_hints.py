import os
import sys
from collections.abc import Callable
from errno import (
    EACCES,
    EAGAIN,
    EDQUOT,
    EFBIG,
    EINVAL,
    EMFILE,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    EPERM,
    EUSERS,
)
from functools import partial
from pathlib import Path

import pytest

from mocker.isolation.errors import CommandError, IsolationError, SetupError
from mocker.isolation.hints import (
    KEYRING_STEP,
    explain,
    explain_apparmor,
    filters_system_calls,
    read_switch,
)
from mocker.isolation.syscalls import mount
from tests.in_namespaces import run_in_child
from tests.refusals import (
    APPARMOR_SWITCH,
    Refusal,
    enter_private_mounts,
    enter_user_namespace,
    refuse_system_calls,
)
from tests.requirements import IS_ROOT, requires_root, requires_user, requires_user_namespaces

SWITCHES = Path("/proc/sys/kernel")


def show_switches(**values: str) -> None:
    """Give the calling process a /proc/sys/kernel with these files alone."""
    enter_private_mounts()
    mount("none", str(SWITCHES), "tmpfs")
    for name, value in values.items():
        (SWITCHES / name).write_text(f"{value}\n")


def find_hint(error: SetupError, prepare: Callable[[], object] = lambda: None) -> str:
    """Return the hint that an error gets in a process that did `prepare` first."""

    def act() -> str:
        prepare()
        explained = explain(error)
        assert isinstance(explained, SetupError)
        return explained.hint

    return run_in_child(act)


@pytest.mark.parametrize(
    "error",
    [
        IsolationError("anything"),
        CommandError("true", EPERM, 126),
        SetupError("create namespaces", EPERM, hint="known already"),
        SetupError("create namespaces", EINVAL),
        SetupError("bind /a", ENOENT, "/b"),
        SetupError("open the rootfs", ENOENT, "/proc/selfish"),
        SetupError("find a static busybox"),
    ],
    ids=str,
)
def test_error_that_nothing_is_known_about_stays_as_it_is(error: IsolationError) -> None:
    assert explain(error) is error


def test_all_but_the_hint_stays() -> None:
    error = explain(SetupError("mount tmpfs", ENOMEM, "/dev"))

    assert isinstance(error, SetupError)
    assert (error.step, error.errno, error.path) == ("mount tmpfs", ENOMEM, "/dev")
    assert error.hint


@pytest.mark.parametrize("step", ["create namespaces", "start the command", "mount proc"])
@pytest.mark.parametrize(
    ("errno", "switch"),
    [
        (EAGAIN, "ulimit -u"),
        (EMFILE, "ulimit -n"),
        (EFBIG, "ulimit -f"),
        (ENOMEM, "ulimit -v"),
    ],
)
def test_limit_that_is_reached_is_named_wherever_it_was_met(
    step: str, errno: int, switch: str
) -> None:
    assert switch in find_hint(SetupError(step, errno))


def test_lack_of_keys_is_told_from_a_disk_quota() -> None:
    keys, disk = SetupError(KEYRING_STEP, EDQUOT), SetupError("make ", EDQUOT, "/data")

    assert [("kernel.keys.maxkeys" in find_hint(error)) for error in (keys, disk)] == [True, False]


@pytest.mark.parametrize("errno", [ENOSPC, EUSERS])
@requires_user_namespaces
def test_user_namespaces_that_are_switched_off_are_told_from_a_limit_that_is_reached(
    errno: int,
) -> None:
    error = SetupError("create namespaces", errno)

    hints = [find_hint(error, partial(limit_user_namespaces, number)) for number in (0, 5)]

    assert hints == [
        "user namespaces are switched off; turn on with sysctl user.max_user_namespaces",
        "a limit of sysctl user.max_*_namespaces is reached, or 32 are nested",
    ]


def limit_user_namespaces(number: int) -> None:
    enter_user_namespace(as_root=True)
    Path("/proc/sys/user/max_user_namespaces").write_text(str(number))


def test_full_file_system_is_no_limit_on_namespaces() -> None:
    assert find_hint(SetupError("bind /a", ENOSPC, "/b")) == ""


@pytest.mark.parametrize("errno", [EPERM, ENOSYS, EACCES])
@requires_user_namespaces
def test_seccomp_filter_is_named_where_namespaces_are_refused(errno: int) -> None:
    error = SetupError("create namespaces", errno)

    hint = find_hint(error, partial(refuse_system_calls, [Refusal("clone3", errno)]))

    assert hint.startswith("a seccomp filter forbids it; ")


@requires_user_namespaces
def test_switch_of_debian_is_named_before_a_seccomp_filter() -> None:
    def prepare() -> None:
        show_switches(unprivileged_userns_clone="0")
        refuse_system_calls([Refusal("clone3", EPERM)])

    hint = find_hint(SetupError("create namespaces", EPERM), prepare)

    # Root may make user namespaces whatever that switch says.
    expected = "a seccomp filter " if IS_ROOT else "turn on with sysctl kernel.unprivileged_userns"
    assert hint.startswith(expected)


@requires_user_namespaces
def test_chroot_and_missing_ids_are_what_is_left_where_nothing_else_forbids_it() -> None:
    hint = find_hint(SetupError("create namespaces", EPERM), show_switches)

    # A filter of the host's own, as in an outer container, would be the better explanation.
    known = "a seccomp filter " if filters_system_calls() else "the kernel refuses it in a chroot"
    assert hint.startswith(known)


@pytest.mark.parametrize(
    "error",
    [
        SetupError("create namespaces", EPERM),
        SetupError("mount proc", EACCES, "/proc"),
        SetupError("mount tmpfs", EACCES, "/"),
        SetupError("set the host name to x", EPERM),
        SetupError("write the user mapping", EPERM, "/proc/1/uid_map"),
    ],
    ids=str,
)
@requires_user
@requires_user_namespaces
def test_restriction_of_apparmor_explains_every_refusal_of_a_right(error: SetupError) -> None:
    hint = find_hint(error, lambda: show_switches(**{APPARMOR_SWITCH: "1"}))

    assert f"with a profile for {os.path.realpath(sys.executable)} that has 'userns,'" in hint
    assert hint.endswith("sysctl kernel.apparmor_restrict_unprivileged_userns=0")


@pytest.mark.parametrize("switches", [{APPARMOR_SWITCH: "0"}, {}])
@requires_user_namespaces
def test_restriction_of_apparmor_is_not_blamed_where_it_is_off(switches: dict[str, str]) -> None:
    def act() -> str:
        show_switches(**switches)
        return explain_apparmor()

    assert run_in_child(act) == ""


@requires_root
def test_restriction_of_apparmor_is_not_blamed_for_what_root_meets() -> None:
    def act() -> str:
        show_switches(**{APPARMOR_SWITCH: "1"})
        return explain_apparmor()

    assert run_in_child(act) == ""


@pytest.mark.parametrize(("step", "path"), [("mount proc", "/proc"), ("mount sysfs", "/sys")])
def test_covered_file_system_of_the_kernel_is_named(step: str, path: str) -> None:
    hint = find_hint(SetupError(step, EPERM, path))

    assert hint.startswith(f"the host's {path} is partly covered")
    assert hint.endswith("--security-opt systempaths=unconfined")


def test_refused_mapping_is_a_question_of_capabilities() -> None:
    hint = find_hint(SetupError("write the user mapping", EPERM, "/proc/1/uid_map"))

    assert hint == "the caller lacks CAP_SETUID or CAP_SETGID over these IDs"


def test_file_system_of_the_kernel_that_is_missing_is_named() -> None:
    error = SetupError("read the user mapping", ENOENT, "/proc/self/uid_map")

    assert find_hint(error) == "mount proc on /proc"


def test_switch_is_read_without_its_newline(tmp_path: Path) -> None:
    switch = tmp_path / "switch"
    switch.write_text("1\n")

    assert read_switch(str(switch)) == "1"


def test_switch_that_this_kernel_does_not_have_reads_as_nothing(tmp_path: Path) -> None:
    assert read_switch(str(tmp_path / "missing")) == ""


@requires_user_namespaces
def test_seccomp_filter_is_seen() -> None:
    def act() -> bool:
        refuse_system_calls([Refusal("sethostname", EPERM)])
        return filters_system_calls()

    assert run_in_child(act)


@requires_user_namespaces
def test_without_proc_no_seccomp_filter_is_seen() -> None:
    def act() -> bool:
        enter_private_mounts()
        refuse_system_calls([Refusal("sethostname", EPERM)])
        mount("none", "/proc", "tmpfs")
        return filters_system_calls()

    assert not run_in_child(act)
