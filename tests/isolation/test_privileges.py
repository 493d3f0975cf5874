import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation import Rlimit, SetupError, Tmpfs, Volume
from mocker.isolation.command import execute
from mocker.isolation.privileges import (
    clamp_rlimits,
    drop_capabilities,
    find_changed_signals,
    own_pipes,
    reset_signals,
    set_rlimits,
)
from mocker.isolation.tape import perform
from tests.containers import in_container, run_captured, script
from tests.in_namespaces import InNewNamespaces, capture_child, run_in_child
from tests.performed import read_status
from tests.requirements import (
    IS_ROOT,
    requires_root,
    requires_subordinate_ids,
    requires_user_namespaces,
)

# What docker run(1) leaves to root, by number in capabilities(7), less MKNOD (27).
KEPT = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 29, 31))
UNLIMITED = resource.RLIM_INFINITY

limits = st.one_of(st.just(UNLIMITED), st.integers(0, 40), st.integers(0, 2**63 - 1))


def become_ordinary() -> None:
    """Make root in a child a user who has no privilege; nobody else needs to change."""
    if IS_ROOT:
        os.setresuid(7777, 7777, 7777)


@requires_user_namespaces
def test_capabilities_that_are_left_are_in_force_and_no_other_can_be_had(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def act() -> list[str]:
        drop_capabilities()
        return read_status("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")

    kept, none = f"{KEPT:016x}", f"{0:016x}"
    assert in_new_namespaces(act) == [none, kept, kept, kept, none]


@requires_root
@in_container
def test_root_that_is_root_on_the_host_keeps_what_docker_leaves_to_it() -> None:
    outcome = run_captured(script("grep Cap /proc/self/status; mknod /x c 1 3", userns="host"))

    assert set(outcome.stdout.split()[1::2]) == {f"{KEPT:016x}", f"{0:016x}"}
    assert "Operation not permitted" in outcome.stderr


@in_container
@pytest.mark.parametrize("user", ["1:1", "nobody"])
@requires_subordinate_ids
def test_user_who_is_not_root_has_no_capability(user: str) -> None:
    outcome = run_captured(script("grep -E 'Cap(Prm|Eff|Amb)' /proc/self/status", user=user))

    assert set(outcome.stdout.split()[1::2]) == {f"{0:016x}"}


def test_limits_are_set() -> None:
    def act() -> tuple[object, ...]:
        set_rlimits([Rlimit("nofile", 20, 40), Rlimit("core", 0)])
        return resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)

    assert run_in_child(act) == ((20, 40), (0, 0))


def test_limit_that_may_not_be_raised_is_refused_with_its_name() -> None:
    def act() -> None:
        become_ordinary()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 10))
        set_rlimits([Rlimit("core", 11)])

    with pytest.raises(SetupError, match="cannot set ulimit core to 11:11; not allowed"):
        run_in_child(act)


@pytest.mark.parametrize(
    ("asked", "given_", "note"),
    [
        ((5, 10), (5, 10), None),
        ((10, 10), (10, 10), None),
        ((5, 11), (5, 10), "ulimit core is 5:10, not 5:11: the hard limit of the caller"),
        ((11, 11), (10, 10), "ulimit core is 10:10, not 11:11"),
        ((5, UNLIMITED), (5, 10), "ulimit core is 5:10, not 5:-1"),
        ((UNLIMITED, UNLIMITED), (10, 10), "ulimit core is 10:10, not -1:-1"),
        ((0, 0), (0, 0), None),
    ],
)
def test_limit_above_the_callers_is_lowered_and_said(
    asked: tuple[int, int], given_: tuple[int, int], note: str | None
) -> None:
    def act() -> tuple[tuple[int, int], tuple[str, ...]]:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 10))
        (limit,), notes = clamp_rlimits([Rlimit("core", *asked)])
        return (limit.soft, limit.hard), notes

    limit, notes = run_in_child(act)

    assert limit == given_
    assert len(notes) == (note is not None)
    assert note is None or notes[0].startswith(note)


@requires_root
def test_limit_of_a_caller_without_limits_is_taken_as_it_is() -> None:
    def act() -> list[tuple[int, int]]:
        resource.setrlimit(resource.RLIMIT_CORE, (UNLIMITED, UNLIMITED))
        limits, notes = clamp_rlimits([Rlimit("core", 5, 2**62), Rlimit("core", UNLIMITED)])
        return [(limit.soft, limit.hard) for limit in limits] if not notes else []

    assert run_in_child(act) == [(5, 2**62), (UNLIMITED, UNLIMITED)]


@pytest.mark.slow
def test_clamped_limits_can_be_set() -> None:
    @given(most=limits, soft=limits, hard=limits)
    def try_one(most: int, soft: int, hard: int) -> None:
        if hard != UNLIMITED and (soft == UNLIMITED or soft > hard):
            soft = hard

        def act() -> None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, most))
            become_ordinary()
            clamped, _ = clamp_rlimits([Rlimit("core", soft, hard)])
            set_rlimits(clamped)

        run_in_child(act)

    try_one()


def test_command_starts_with_no_signal_ignored_or_blocked() -> None:
    def act() -> None:
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ, signal.SIGCHLD, 34, 64):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        perform(reset_signals(find_changed_signals()))
        execute(("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"), {"PATH": "/usr/bin:/bin"})

    output = capture_child(act)

    assert [int(word, 16) for word in output.text.split()[1::2]] == [0, 0]


def test_signals_that_are_ignored_or_handled_are_found() -> None:
    def act() -> tuple[tuple[int, ...], tuple[int, ...]]:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        none = find_changed_signals()
        for ignored in (1, 13, 64):
            signal.signal(ignored, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        return none, find_changed_signals()

    assert run_in_child(act) == ((), (1, 10, 13, 64))


@requires_user_namespaces
@requires_subordinate_ids
def test_pipe_becomes_the_users_and_a_file_keeps_its_owner(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def act() -> list[tuple[int, int]]:
        read_end, write_end = os.pipe()
        memory = os.memfd_create("file")
        own_pipes([read_end, write_end, memory], 5, 6)
        stats = [os.fstat(fd) for fd in (read_end, write_end, memory)]
        return [(stat.st_uid, stat.st_gid) for stat in stats]

    assert in_new_namespaces(act) == [(5, 6), (5, 6), (0, 0)]


def test_pipe_that_cannot_be_given_away_is_left_alone() -> None:
    def act() -> tuple[int, int]:
        become_ordinary()
        read_end, _ = os.pipe()
        own_pipes([read_end], 5, 6)
        stat = os.fstat(read_end)
        return stat.st_uid, os.geteuid()

    owner, caller = run_in_child(act)

    assert owner == caller


@in_container
@pytest.mark.parametrize(
    "attempt",
    [
        "mount -o remount,rw /data",
        "mount -o remount,bind,rw /data",
        "umount /data",
        "umount -l /data",
        "umount /proc",
        "mount -o remount,rw /sys",
        "umount /dev/null",
        "mkdir /tmp/again && mount -o bind /data /tmp/again && mount -o remount,rw,bind /tmp/again",
    ],
)
def test_mount_that_protects_something_cannot_be_undone(tmp_path: Path, attempt: str) -> None:
    tmp_path.chmod(0o777)
    volume = Volume(str(tmp_path), "/data", read_only=True)

    outcome = run_captured(script(f"({attempt}) && touch /data/x /tmp/again/x", volumes=[volume]))

    assert not outcome.status.success
    assert list(tmp_path.iterdir()) == []


@in_container
def test_root_may_mount_what_concerns_nobody_else() -> None:
    text = "mkdir /tmp/new && mount -t tmpfs none /tmp/new && touch /tmp/new/x && umount /tmp/new"

    outcome = run_captured(script(text, tmpfs=[Tmpfs("/tmp/other")]))

    assert outcome.status.success, outcome.stderr


@in_container
@pytest.mark.parametrize(
    "attempt",
    [
        "cat /proc/1/environ",
        "ls /proc/1/fd",
        "ls /proc/1/root/",
        "cat /proc/1/maps",
        "cat /proc/1/mem",
        "cat /proc/1/exe",
        "nsenter -t 1 -m true",
    ],
)
def test_init_cannot_be_looked_into(attempt: str) -> None:
    outcome = run_captured(script(attempt))

    assert not outcome.status.success
    assert outcome.stdout == ""
    assert "denied" in outcome.stderr or "not permitted" in outcome.stderr
