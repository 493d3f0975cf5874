"""A host that refuses user namespaces, mounts or /proc: one line names the switch to turn.

Each refusal is the kernel's own, in a namespace or under a filter that the test makes.
"""

import os
import shutil
from errno import EACCES, EINVAL, ENOSYS, EOPNOTSUPP, EPERM
from functools import partial
from pathlib import Path

import pytest

from mocker.isolation.syscalls import CLONE_NEWUSER, MS_REC, mount, unshare
from tests.callers import Outcome, be_mocker, call, read_refusal, run_prepared
from tests.refusals import (
    APPARMOR_SWITCH,
    MS_BIND,
    PR_SET_SECCOMP,
    SUBORDINATE_BASE,
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
    "--security-opt seccomp=unconfined, or --privileged (one of mocker's: --seccomp unconfined)"
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
EVERYTHING = (
    *(f"{name} namespace" for name in NAMESPACES),
    *("bounded writing", "kernel files", "a container"),
)


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


def test_filter_that_forbids_unsharing_is_no_obstacle() -> None:
    outcome = run_prepared(partial(refuse_system_calls, [Refusal("unshare", EPERM)]), "run", "true")

    assert outcome == (0, "", "")


def test_filter_that_forbids_another_root_is_named() -> None:
    outcome = run_prepared(
        partial(refuse_system_calls, [Refusal("pivot_root", EPERM)]), "run", "true"
    )

    action = "make it the only root, and let go of the host's on /"
    reason = "Operation not permitted (EPERM)"
    assert read_refusal(outcome, 125) == f"cannot {action}: {reason}; {SECCOMP}"


def test_filter_that_forbids_one_way_to_clone_is_named() -> None:
    refusals = [Refusal("clone", EPERM, flags=CLONE_NEWUSER)]

    outcome = run_prepared(partial(refuse_system_calls, refusals), "run", "true")

    reason = "Operation not permitted (EPERM)"
    assert read_refusal(outcome, 125) == f"cannot create namespaces: {reason}; {SECCOMP}"


def test_check_of_a_host_under_a_seccomp_filter_says_so() -> None:
    outcome = run_prepared(partial(refuse_user_namespaces, EPERM, ENOSYS), "check-host")

    check_refused(outcome, *EVERYTHING, hint=SECCOMP)
    loaded = "ok the default filter can be loaded; another one is in force"
    assert read_checks(outcome)["seccomp"] == loaded


NO_FILTERS = Refusal("prctl", EINVAL, first=PR_SET_SECCOMP)


def test_kernel_without_seccomp_is_named() -> None:
    outcome = run_prepared(partial(refuse_system_calls, [NO_FILTERS]), "run", "true")

    sentence = read_refusal(outcome, 125)
    assert sentence.startswith("cannot filter system calls: Invalid argument (EINVAL); ")
    assert sentence.endswith("; --seccomp unconfined does without")


def test_container_can_do_without_seccomp_if_that_is_asked_for() -> None:
    refuse = partial(refuse_system_calls, [NO_FILTERS])

    assert run_prepared(refuse, "run", "--seccomp", "unconfined", "true") == (0, "", "")


def test_check_of_a_host_without_seccomp_says_what_is_lost() -> None:
    outcome = run_prepared(partial(refuse_system_calls, [NO_FILTERS]), "check-host")

    sentence = "MISSING cannot filter system calls: "
    assert outcome.code == 1
    assert read_checks(outcome)["seccomp"].startswith(sentence)
    assert read_checks(outcome)["a container"].startswith(sentence)


@pytest.mark.parametrize(
    ("errno", "reason"),
    [
        (ENOSYS, "Function not implemented (ENOSYS); a seccomp filter forbids it"),
        (EOPNOTSUPP, "Operation not supported (ENOTSUP); it is switched off; name it in lsm= of "),
    ],
)
def test_check_of_a_host_without_landlock_says_what_is_lost(errno: int, reason: str) -> None:
    refuse = partial(refuse_system_calls, [Refusal("landlock_create_ruleset", errno)])

    outcome = run_prepared(refuse, "check-host")

    sentence = "absent no job with landlock = true: cannot put up a wall by landlock: "
    assert outcome.code == 0
    assert read_checks(outcome)["landlock"].startswith(f"{sentence}{reason}")


def allow_user_namespaces(number: int, *, as_root: bool) -> None:
    enter_user_namespace(as_root=as_root)
    Path("/proc/sys/user/max_user_namespaces").write_text(str(number))


@pytest.mark.parametrize("as_root", [True, False])
@pytest.mark.parametrize(("number", "hint"), [(0, SWITCHED_OFF), (1, USED_UP), (2, USED_UP)])
def test_limit_on_user_namespaces_is_named(number: int, hint: str, as_root: bool) -> None:
    prepare = partial(allow_user_namespaces, number, as_root=as_root)

    outcome = run_prepared(prepare, "run", "true")

    reason = "No space left on device (ENOSPC)"
    assert read_refusal(outcome, 125) == f"cannot create namespaces: {reason}; {hint}"


def test_three_user_namespaces_are_enough() -> None:
    outcome = run_prepared(partial(allow_user_namespaces, 3, as_root=True), "run", "true")

    assert outcome == (0, "", "")


def test_check_of_a_host_without_user_namespaces_says_so() -> None:
    outcome = run_prepared(partial(allow_user_namespaces, 0, as_root=True), "check-host")

    check_refused(outcome, *EVERYTHING, hint=SWITCHED_OFF)


def show_switch(name: str, value: str) -> None:
    """Show a file in /proc/sys/kernel that another kernel has."""
    mount("none", SWITCHES, "tmpfs")
    Path(SWITCHES, name).write_text(f"{value}\n")


def enter_ubuntu(refusals: list[Refusal]) -> None:
    """Be an ordinary user on Ubuntu 24.04: a user namespace is granted, and no right in it."""
    enter_private_mounts()
    show_switch(APPARMOR_SWITCH, "1")
    refuse_system_calls(refusals)


MOUNT_REFUSED = [Refusal("mount", EACCES), Refusal("move_mount", EACCES)]
HOST_NAME_REFUSED = [Refusal("sethostname", EPERM), *MOUNT_REFUSED]
GROUPS_REFUSED = [Refusal("setgroups", EPERM), *HOST_NAME_REFUSED]


@pytest.mark.parametrize(
    ("refusals", "sentence"),
    [
        (MOUNT_REFUSED, "cannot mount tmpfs on /: Permission denied (EACCES); AppArmor "),
        (
            HOST_NAME_REFUSED,
            "cannot set the host name to containerhostname: Operation not permitted (EPERM); ",
        ),
    ],
)
@requires_user
def test_restriction_of_apparmor_is_named(refusals: list[Refusal], sentence: str) -> None:
    outcome = run_prepared(partial(enter_ubuntu, refusals), "run", "true")

    text = read_refusal(outcome, 125)
    assert text.startswith(sentence)
    assert "with a profile for " in text
    assert text.endswith(APPARMOR)


@requires_user
def test_check_of_a_host_with_the_restriction_of_apparmor_says_so() -> None:
    outcome = run_prepared(partial(enter_ubuntu, HOST_NAME_REFUSED), "check-host")

    checks = read_checks(outcome)
    assert outcome.code == 1
    assert checks["a container"].startswith("MISSING ")
    assert checks["a container"].endswith(APPARMOR)
    assert checks["overlay in a user namespace"].endswith(APPARMOR)


def be_user_of_ubuntu(directory: Path, refusals: list[Refusal], *words: str) -> None:
    """Be mocker as an ordinary user with subordinate IDs, whom AppArmor restricts."""
    enter_private_mounts()
    show_switch(APPARMOR_SWITCH, "1")
    become_user(A_USER, directory, refusals)
    be_mocker(*words)


@pytest.mark.parametrize(
    ("refusals", "sentence"),
    [
        (MOUNT_REFUSED, "cannot mount tmpfs on /: Permission denied (EACCES); "),
        (GROUPS_REFUSED, "cannot set the groups of user 0: Operation not permitted (EPERM); "),
    ],
)
@requires_root
@requires_commands("newuidmap")
def test_restriction_of_apparmor_is_named_to_a_user_with_subordinate_ids(
    tmp_path: Path, refusals: list[Refusal], sentence: str
) -> None:
    outcome = call(partial(be_user_of_ubuntu, tmp_path, refusals, "run", "true"))

    text = read_refusal(outcome, 125)
    assert text.startswith(sentence)
    assert text.endswith(APPARMOR)


@requires_root
@requires_commands("newuidmap")
def test_check_of_a_host_names_the_restriction_of_apparmor_to_a_user_with_subordinate_ids(
    tmp_path: Path,
) -> None:
    outcome = call(partial(be_user_of_ubuntu, tmp_path, GROUPS_REFUSED, "check-host"))

    checks = read_checks(outcome)
    assert outcome.code == 1
    assert checks["a container"].endswith(APPARMOR)


def be_user_without_helper(directory: Path, *words: str) -> None:
    """Be mocker as an ordinary user whose newuidmap refuses everything."""
    enter_private_mounts()
    bind(shutil.which("false") or "", shutil.which("newuidmap") or "")
    become_user(A_USER, directory)
    be_mocker(*words)


@requires_root
@requires_commands("newuidmap", "false")
def test_refusal_of_newuidmap_is_said(tmp_path: Path) -> None:
    outcome = call(partial(be_user_without_helper, tmp_path, "run", "true"))

    sentence = f"cannot map 0 {A_USER} 1 1 {SUBORDINATE_BASE} 65536 with "
    assert read_refusal(outcome, 125).startswith(sentence)


@requires_root
@requires_commands("newuidmap", "false")
def test_check_of_a_host_survives_a_refusal_of_newuidmap(tmp_path: Path) -> None:
    outcome = call(partial(be_user_without_helper, tmp_path, "check-host"))

    checks = read_checks(outcome)
    assert outcome.code == 1
    assert checks["a container"].startswith("MISSING cannot map ")


def be_user_without_range(directory: Path, *words: str) -> None:
    """Be mocker as an ordinary user who was granted no further IDs."""
    enter_private_mounts()
    become_user(A_USER, directory, granted=0)
    be_mocker(*words)


@requires_root
def test_user_without_a_granted_range_is_told_how_to_get_one(tmp_path: Path) -> None:
    checked = call(partial(be_user_without_range, tmp_path, "check-host"))
    refused = call(partial(be_user_without_range, tmp_path, "run", "-u", "nobody", "true"))

    assert checked.code == 0
    assert "usermod --add-subuids " in read_checks(checked)["subordinate IDs"]
    assert "grant the caller a range in /etc/subuid" in read_refusal(refused, 125)


def enter_debian() -> None:
    """Be an ordinary user on a Debian whose administrator forbade user namespaces to them."""
    enter_private_mounts()
    show_switch("unprivileged_userns_clone", "0")
    refuse_user_namespaces(EPERM, EPERM)


@requires_user
def test_switch_of_debian_is_named() -> None:
    outcome = run_prepared(enter_debian, "run", "--rootfs", "host", "true")

    reason = "Operation not permitted (EPERM)"
    assert read_refusal(outcome, 125) == f"cannot create namespaces: {reason}; {DEBIAN}"


def cover(path: str) -> None:
    """Be root where something is mounted over a part of the kernel's own file system."""
    enter_private_mounts(as_root=True)
    mount("none", path, "tmpfs")


@pytest.mark.parametrize("rootfs", ["busybox", "host"])
@pytest.mark.parametrize(
    ("covered", "what", "where"),
    [("/proc/sys", "mount proc", "/proc"), ("/sys/kernel", "mount sysfs", "/sys")],
)
def test_covered_file_system_of_the_kernel_is_named(
    rootfs: str, covered: str, what: str, where: str
) -> None:
    outcome = run_prepared(partial(cover, covered), "run", "--rootfs", rootfs, "true")

    reason = f"Operation not permitted (EPERM); {COVERED.replace('PATH', where)}"
    assert read_refusal(outcome, 125) == f"cannot {what} on {where}: {reason}"


def test_check_of_a_host_with_a_covered_proc_says_so() -> None:
    outcome = run_prepared(partial(cover, "/proc/sys"), "check-host")

    check_refused(outcome, "kernel files", "a container", hint=COVERED.replace("PATH", "/proc"))


@pytest.mark.parametrize("rootfs", ["busybox", "host"])
def test_missing_proc_is_said(rootfs: str) -> None:
    outcome = run_prepared(partial(cover, "/proc"), "run", "--rootfs", rootfs, "true")

    sentence = read_refusal(outcome, 125)
    assert sentence.endswith(": No such file or directory (ENOENT); mount proc on /proc")


def test_missing_proc_is_said_by_the_check_of_the_host() -> None:
    outcome = run_prepared(partial(cover, "/proc"), "check-host")

    assert (outcome.code, outcome.stdout) == (125, "")
    assert outcome.stderr.startswith("mocker check-host: cannot ")
    assert outcome.stderr.endswith(" (ENOENT); mount proc on /proc\n")


def test_missing_devices_are_said() -> None:
    outcome = run_prepared(partial(cover, "/dev"), "run", "true")

    sentence = "cannot cover files with /dev/null: No such file or directory (ENOENT)"
    assert read_refusal(outcome, 125) == sentence


def enter_chroot(top: Path) -> None:
    """Go where the root directory is not that of the mount namespace, but has all that it has."""
    enter_private_mounts(as_root=True)
    mount("/", str(top), "", MS_BIND | MS_REC)
    os.chroot(top)


def test_chroot_is_named(tmp_path: Path) -> None:
    outcome = run_prepared(partial(enter_chroot, tmp_path), "run", "true")

    reason = "Operation not permitted (EPERM)"
    assert read_refusal(outcome, 125) == f"cannot create namespaces: {reason}; {NO_ID}"


def test_caller_without_an_id_of_its_own_is_told(tmp_path: Path) -> None:
    outcome = run_prepared(partial(unshare, CLONE_NEWUSER), "run", "true")

    reason = "Operation not permitted (EPERM)"
    assert read_refusal(outcome, 125) == f"cannot create namespaces: {reason}; {NO_ID}"
