"""A host that refuses user namespaces, mounts or /proc: one line names the switch to turn.

Each refusal is the kernel's own, in a namespace or under a filter that the test makes.
"""

import os
import shutil
from collections.abc import Callable
from errno import EACCES, ENOSYS, EPERM
from functools import partial
from pathlib import Path

import pytest

from mocker.isolation.syscalls import CLONE_NEWUSER, MS_REC, mount, unshare
from tests.callers import Outcome, read_refusal, run_prepared
from tests.refusals import (
    APPARMOR_SWITCH,
    MS_BIND,
    Refusal,
    become_user,
    bind,
    enter_private_mounts,
    enter_user_namespace,
    refuse_system_calls,
    refuse_user_namespaces,
)
from tests.requirements import (
    requires_busybox,
    requires_commands,
    requires_root,
    requires_user,
    requires_user_namespaces,
)

pytestmark = [pytest.mark.end_to_end, requires_busybox, requires_user_namespaces]

SWITCHES = "/proc/sys/kernel"
A_USER = 7777
SECCOMP = (
    "a seccomp filter forbids it; start the outer container with "
    "--security-opt seccomp=unconfined, or --privileged"
)
SWITCHED_OFF = "user namespaces are switched off; turn on with sysctl user.max_user_namespaces"
USED_UP = "a limit of sysctl user.max_*_namespaces is reached, or 32 are nested"
APPARMOR = "or with sysctl kernel.apparmor_restrict_unprivileged_userns=0"
DEBIAN = "turn on with sysctl kernel.unprivileged_userns_clone=1"
COVERED = (
    "the host's PATH is partly covered, as in a container; "
    "start the outer one with --security-opt systempaths=unconfined"
)
NO_ID = "the kernel refuses it in a chroot, and to who has no ID in their own user namespace"


def read_checks(outcome: Outcome) -> dict[str, str]:
    """Return what `mocker check-host` found, by its name: "ok …", "MISSING …" or "absent …"."""
    assert outcome.stderr == ""
    lines = outcome.stdout.splitlines()
    return {line[8:36].strip(): f"{line[:8].strip()} {line[36:].strip()}" for line in lines}


def check_refused(outcome: Outcome, *names: str, hint: str) -> None:
    """Hold that `mocker check-host` says no, what is missing, and what to do about it."""
    checks = read_checks(outcome)
    assert outcome.code == 1
    assert {name for name, text in checks.items() if text.startswith("MISSING")} == set(names)
    assert all(checks[name].endswith(hint) for name in names)


NAMESPACES = ("mount", "pid", "uts", "ipc", "cgroup", "user", "network")
EVERYTHING = (*(f"{name} namespace" for name in NAMESPACES), "a container")


@pytest.mark.parametrize(
    ("clone3_errno", "reason"),
    [
        (ENOSYS, "Function not implemented (ENOSYS)"),
        (EPERM, "Operation not permitted (EPERM)"),
    ],
)
def test_seccomp_filter_is_named(clone3_errno: int, reason: str) -> None:
    # From the host's files, because a filter without clone3 starts no busybox to ask either.
    refuse = partial(refuse_user_namespaces, EPERM, clone3_errno)

    outcome = run_prepared(refuse, "run", "--rootfs", "host", "true")

    assert read_refusal(outcome, 125) == f"cannot create namespaces: {reason}; {SECCOMP}"


def test_filter_of_docker_is_named_whatever_the_root() -> None:
    outcome = run_prepared(partial(refuse_user_namespaces, EPERM, ENOSYS), "run", "true")

    assert read_refusal(outcome, 125).endswith(SECCOMP)


def test_filter_that_forbids_the_inner_user_namespace_is_named() -> None:
    refusals = [Refusal("unshare", EPERM, flags=CLONE_NEWUSER)]

    outcome = run_prepared(partial(refuse_system_calls, refusals), "run", "true")

    sentence = "cannot create namespaces: Operation not permitted (EPERM); "
    assert read_refusal(outcome, 125) == sentence + SECCOMP


def test_check_of_a_host_under_a_seccomp_filter_says_so() -> None:
    outcome = run_prepared(partial(refuse_user_namespaces, EPERM, ENOSYS), "check-host")

    check_refused(outcome, *EVERYTHING, hint=SECCOMP)
    assert read_checks(outcome)["seccomp"] == "ok a filter is in force already"


def allow_user_namespaces(number: int, *, as_root: bool) -> None:
    enter_user_namespace(as_root=as_root)
    Path("/proc/sys/user/max_user_namespaces").write_text(str(number))


@pytest.mark.parametrize("as_root", [True, False])
@pytest.mark.parametrize(("number", "hint"), [(0, SWITCHED_OFF), (1, USED_UP)])
def test_limit_on_user_namespaces_is_named(number: int, hint: str, as_root: bool) -> None:
    prepare = partial(allow_user_namespaces, number, as_root=as_root)

    outcome = run_prepared(prepare, "run", "true")

    reason = "No space left on device (ENOSPC)"
    assert read_refusal(outcome, 125) == f"cannot create namespaces: {reason}; {hint}"


def test_two_user_namespaces_are_enough() -> None:
    outcome = run_prepared(partial(allow_user_namespaces, 2, as_root=True), "run", "true")

    assert outcome == (0, "", "")


def test_check_of_a_host_without_user_namespaces_says_so() -> None:
    outcome = run_prepared(partial(allow_user_namespaces, 0, as_root=True), "check-host")

    check_refused(outcome, *EVERYTHING, hint=SWITCHED_OFF)


def show_switch(name: str, value: str) -> None:
    """Show a file below /proc/sys/kernel as another kernel would have it."""
    mount("none", SWITCHES, "tmpfs")
    Path(SWITCHES, name).write_text(f"{value}\n")


def enter_ubuntu(refusals: list[Refusal], directory: Path) -> None:
    """Be an ordinary user on Ubuntu 24.04: a user namespace is granted, and no right in it."""
    enter_private_mounts()
    show_switch(APPARMOR_SWITCH, "1")
    if os.geteuid() != 0:
        refuse_system_calls(refusals)
        return
    directory.chmod(0o755)
    refuse_system_calls(refusals)
    become_user(A_USER, directory)


@pytest.fixture
def open_directory(tmp_path: Path) -> Path:
    """A directory where any user may look."""
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("refusals", "sentence"),
    [
        (
            [("mount", EACCES), ("move_mount", EACCES)],
            "cannot mount tmpfs on /: Permission denied (EACCES); AppArmor ",
        ),
        (
            [("sethostname", EPERM), ("mount", EACCES), ("move_mount", EACCES)],
            "cannot set the host name to containerhostname: Operation not permitted (EPERM); ",
        ),
        ([("clone3", EACCES)], "cannot create namespaces: Permission denied (EACCES); "),
    ],
    ids=["mount", "host name", "clone"],
)
def test_restriction_of_apparmor_is_named(
    tmp_path: Path, refusals: list[tuple[str, int]], sentence: str
) -> None:
    prepare = partial(enter_ubuntu, [Refusal(*refusal) for refusal in refusals], tmp_path)

    outcome = run_prepared(prepare, "run", "--rootfs", "busybox", "true")

    text = read_refusal(outcome, 125)
    assert text.startswith(sentence)
    assert text.endswith(APPARMOR)
    assert "'userns,'" in text
