import os
import resource
import subprocess
from collections.abc import Callable
from errno import EINVAL, ENOSYS, EPERM
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, SetupError
from mocker.isolation.capabilities import NUMBERS
from mocker.isolation.host_walls import (
    FAULTS,
    LOOK,
    check_capabilities,
    check_core_dumps,
    check_keyring,
    check_landlock,
    check_limits,
    check_mapped_mounts,
    check_no_new_privs,
    check_own_program,
    check_schedule,
    check_seccomp,
    check_ulimits,
)
from mocker.isolation.landlock import find_landlock
from mocker.isolation.syscalls import PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, prctl
from mocker.isolation.user_mapping import IdRange, UserMapping
from tests.cgroups import show_controllers, show_disk
from tests.containers import in_container, run_captured, script
from tests.in_namespaces import run_in_child
from tests.refusals import PR_SET_SECCOMP, Refusal, bind, enter_private_mounts, refuse_system_calls
from tests.requirements import (
    requires,
    requires_commands,
    requires_root,
    requires_user_namespaces,
)

HARMLESS = {"null", "zero", "full", "random", "urandom", "tty"}
CORE_PATTERN = "/proc/sys/kernel/core_pattern"


def find_device_obstacle() -> str:
    """Return why no device can be seen that a container has not: there is none here either."""
    for path in Path("/dev").iterdir():
        is_device = path.is_char_device() or path.is_block_device()
        if is_device and not path.is_symlink() and path.name not in HARMLESS:
            return ""
    return "needs a device in /dev that not every container has"


def find_refusal(check: Callable[[], object], prepare: Callable[[], object]) -> str:
    """Return what a check says in a process that did `prepare` first."""

    def act() -> str:
        prepare()
        with pytest.raises(SetupError) as caught:
            check()
        return str(caught.value)

    return run_in_child(act)


def look(*command: str, stdin: int = subprocess.DEVNULL) -> str | None:
    """Return what is not as it should be where a command starts a shell."""
    words = ["setsid", "--wait", *command, "sh", "-c", LOOK]
    status = subprocess.run(words, stdin=stdin, stderr=subprocess.PIPE, check=False)
    assert status.stderr == b""
    return FAULTS[status.returncode] if status.returncode else None


@requires_commands("setsid")
def test_terminal_of_the_callers_is_seen() -> None:
    master, slave = os.openpty()
    try:
        found = look("setsid", "--ctty", "--wait", stdin=slave)
    finally:
        os.close(master)
        os.close(slave)

    assert found == "it has the caller's terminal"


@requires_commands("setsid", "unshare")
@requires_user_namespaces
def test_init_that_can_be_read_is_seen() -> None:
    namespaces = ("--user", "--map-root-user", "--pid", "--fork", "--mount-proc")

    assert look("unshare", *namespaces) == "it can read its init"


@requires_commands("setsid", "unshare")
@requires_user_namespaces
@requires(find_device_obstacle)
def test_devices_of_the_host_are_seen() -> None:
    assert look("unshare", "--user") == "it sees a device of the host's in /dev"


@in_container
@pytest.mark.parametrize(
    ("fields", "before", "code"),
    [
        ({}, "", 0),
        ({"rootfs": "host"}, "", 0),
        ({"cap_add": ["all"], "seccomp": "unconfined"}, "", 0),
        ({"cap_add": ["sys_admin"]}, "mount -t tmpfs none /dev/shm", 14),
        ({"cap_add": ["sys_admin"]}, "mount -t tmpfs -o nosuid none /dev/shm", 0),
    ],
)
def test_shell_inside_sees_which_wall_does_not_stand(
    fields: dict[str, object], before: str, code: int
) -> None:
    found = run_captured(script(before + LOOK, **fields))

    assert (found.status.code, found.stderr) == (code, "")


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
    ("controllers", "scheduler", "told"),
    [
        ("cpu io memory pids", "none [bfq]", ""),
        ("cpu memory pids", "[none] bfq", ""),
        ("cpu io memory pids", "[none] bfq", "io_weight is refused: no disk heeds it"),
    ],
)
def test_weights_that_no_disk_heeds_are_told(controllers: str, scheduler: str, told: str) -> None:
    def act() -> str:
        show_controllers(controllers)
        show_disk(scheduler)
        return check_limits()

    found, weights, *_ = (*run_in_child(act).split("; "), "")

    assert found.startswith(
        f"{controllers.replace(' ', ', ')}, and mocker pause, in /sys/fs/cgroup"
    )
    assert weights == told


def test_hard_limits_of_the_caller_are_told() -> None:
    def act() -> str:
        resource.setrlimit(resource.RLIMIT_NOFILE, (70, 77))
        return check_ulimits()

    told, _, limits = run_in_child(act).partition(": ")

    assert told == "up to the caller's hard limits"
    assert [limit for limit in limits.split(", ") if "ofile" in limit] == ["nofile 77"]


def test_turn_after_all_others_can_be_had() -> None:
    assert check_schedule(ContainerSpec(["true"], nice=19)) == "can be any"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (ContainerSpec(["true"], nice=-20), "cannot set the nice value to -20: "),
        (ContainerSpec(["true"], oom_score_adj=-1000), "cannot set oom_score_adj to -1000: "),
    ],
)
def test_turn_before_all_others_is_refused_to_who_has_no_right(
    spec: ContainerSpec, text: str
) -> None:
    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
        if os.geteuid() == 0:
            os.setresuid(7777, 7777, 7777)

    told = find_refusal(lambda: check_schedule(spec), prepare)

    assert told.startswith(f"{text}Permission denied (EACCES); less than the caller")


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


def test_own_program_is_told_if_its_owner_is_inside() -> None:
    program = Path("/proc/self/exe").resolve()
    owner = program.stat().st_uid
    inside, outside = (UserMapping([IdRange(0, n, 1)], [IdRange(0, n, 1)]) for n in (owner, 7777))

    with pytest.raises(SetupError, match=f"cannot rely on the owner of {program}; it is a user "):
        check_own_program(inside)

    assert check_own_program(outside) == f"{program} belongs to nobody inside"


@requires_root
def test_file_system_without_owners_that_can_be_mapped_is_told() -> None:
    # The kernel maps to none but a namespace of others.
    own = os.open("/proc/self/ns/user", os.O_RDONLY)

    with pytest.raises(SetupError) as caught:
        check_mapped_mounts(own)

    os.close(own)
    assert caught.value.errno in {EINVAL, EPERM}
    assert str(caught.value).startswith("cannot map owners in /: ")
