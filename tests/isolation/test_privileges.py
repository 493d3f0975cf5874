import os
import resource
import signal
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation import Rlimit, SetupError, Tmpfs, Volume, spawn
from mocker.isolation.capabilities import DEFAULT_SET, NUMBERS, find_last_capability, mask_of
from mocker.isolation.command import execute
from mocker.isolation.library import libc
from mocker.isolation.privileges import (
    bound_capabilities,
    clamp_rlimits,
    find_changed_signals,
    keep_capabilities,
    own_pipes,
    plan_capabilities,
    reset_signals,
    set_rlimits,
)
from mocker.isolation.spec import RLIMIT_NAMES
from mocker.isolation.syscalls import PR_CAPBSET_DROP, prctl
from mocker.isolation.tape import perform
from tests.beside import run_script, running
from tests.containers import in_container, make_spec, run_captured, script
from tests.in_namespaces import InNewNamespaces, capture_child, run_in_child
from tests.performed import read_status
from tests.requirements import (
    IS_ROOT,
    requires_root,
    requires_subordinate_ids,
    requires_user_namespaces,
)

KEPT = mask_of(DEFAULT_SET)
ALL_KNOWN = (2 << find_last_capability()) - 1
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
UNLIMITED = resource.RLIM_INFINITY

limits = st.one_of(st.just(UNLIMITED), st.integers(0, 40), st.integers(0, 2**63 - 1))


def become_ordinary() -> None:
    """Make root in a child a user who has no privilege; nobody else needs to change."""
    if IS_ROOT:
        os.setresuid(7777, 7777, 7777)


def sets(mask: int, bounding: int | None = None) -> list[str]:
    """Return the five sets as /proc shows them: none inheritable, none ambient."""
    bounding = mask if bounding is None else bounding
    return [f"{value:016x}" for value in (0, mask, mask, bounding, 0)]


@requires_user_namespaces
def test_capabilities_that_are_left_are_in_force_and_no_other_can_be_had(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def act() -> list[str]:
        perform([*bound_capabilities(KEPT), *keep_capabilities(KEPT)])
        return read_status(*SETS)

    assert in_new_namespaces(act) == sets(KEPT)


def hand_on(name: str) -> list[str]:
    """Have a capability inheritable and ambient, and return what /proc shows of that."""
    number = NUMBERS[name]
    permitted = int(read_status("CapPrm")[0], 16)
    low, high = permitted & 0xFFFF_FFFF, permitted >> 32
    header, data = pack("Ii", 0x20080522, 0), pack("6I", low, low, 1 << number, high, high, 0)
    libc.capset(header, data)
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0)
    return read_status("CapInh", "CapAmb")


@requires_root
@in_container
@pytest.mark.parametrize("userns", ["private", "host"])
def test_what_the_caller_hands_on_to_any_program_is_taken_as_well(userns: str) -> None:
    spec = make_spec(argv=["sleep", "1000"], userns=userns, cap_add=["kill"], cap_drop=["all"])
    text = "grep ^Cap /proc/self/status"

    def act() -> tuple[list[str], str, str]:
        before = hand_on("CHOWN")
        with running(spec) as container:
            beside = run_script(container, text).text
        rights = {"userns": userns, "cap_add": ["kill"], "cap_drop": ["all"]}
        return before, run_captured(script(text, **rights)).stdout, beside

    before, command, beside = run_in_child(act)

    assert before == [f"{1:016x}"] * 2
    assert command.split()[1::2] == beside.split()[1::2] == sets(1 << NUMBERS["KILL"])


@in_container
@pytest.mark.parametrize(
    ("fields", "mask"),
    [
        ({}, KEPT),
        ({"cap_drop": ["all"]}, 0),
        ({"cap_drop": ["all"], "cap_add": ["net_raw"]}, 1 << 13),
        ({"cap_drop": ["CAP_MKNOD", "kill"]}, KEPT & ~(1 << 27 | 1 << 5)),
        ({"cap_add": ["SYS_ADMIN"]}, KEPT | 1 << 21),
        ({"cap_add": ["all"]}, ALL_KNOWN),
        ({"cap_add": ["all"], "cap_drop": ["sys_admin"]}, ALL_KNOWN & ~(1 << 21)),
    ],
)
def test_root_has_the_capabilities_that_it_is_given(fields: dict[str, object], mask: int) -> None:
    with running(make_spec(argv=["sleep", "1000"], **fields)) as container:
        beside = run_script(container, "grep ^Cap /proc/self/status").text
    command = run_captured(script("grep ^Cap /proc/self/status", **fields)).stdout

    assert command.split()[1::2] == sets(mask)
    assert beside.split()[1::2] == sets(mask)


@requires_root
@in_container
@pytest.mark.parametrize(("added", "mask"), [([], 0), (["chown", "KILL"], 1 << 0 | 1 << 5)])
def test_root_that_is_root_on_the_host_has_what_it_is_given_by_name(
    added: list[str], mask: int
) -> None:
    spec = make_spec(argv=["sleep", "1000"], userns="host", cap_add=added)
    with running(spec) as container:
        beside = run_script(container, "grep ^Cap /proc/self/status").text
    text = "grep ^Cap /proc/self/status"
    command = run_captured(script(text, userns="host", cap_add=added)).stdout

    assert command.split()[1::2] == sets(mask)
    assert beside.split()[1::2] == sets(mask)


@requires_root
@in_container
def test_root_that_is_root_on_the_host_may_be_given_all_that_the_caller_has() -> None:
    (had,) = read_status("CapBnd")

    outcome = run_captured(script("grep ^CapEff /proc/self/status", userns="host", cap_add=["all"]))

    assert outcome.stdout.split() == ["CapEff:", had]


@requires_root
@in_container
def test_capability_that_the_caller_does_not_have_cannot_be_given() -> None:
    def act() -> None:
        prctl(PR_CAPBSET_DROP, NUMBERS["NET_RAW"])
        spawn(make_spec(userns="host", cap_add=["NET_RAW"]))

    with pytest.raises(SetupError) as info:
        run_in_child(act)

    assert str(info.value) == (
        "cannot give the container the capability NET_RAW; the caller itself does not have it"
    )


@requires_root
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SYS_PTRACE", "it could then trace its init, which has all of root's"),
        ("PERFMON", "it could then read where its init has what in memory"),
    ],
)
def test_root_of_the_host_is_not_let_near_its_init_by_one_capability(
    name: str, reason: str
) -> None:
    with pytest.raises(SetupError) as info:
        spawn(make_spec(userns="host", cap_add=[name]))

    assert str(info.value) == (
        f"cannot give the container the capability {name}; {reason}; add ALL if that is meant"
    )


@requires_root
@in_container
def test_root_of_the_host_may_be_given_what_gets_at_its_init_with_all() -> None:
    (had,) = read_status("CapBnd")

    mask = plan_capabilities(make_spec(userns="host", cap_add=["all", "sys_ptrace"]))

    assert mask == int(had, 16)


@requires_root
@in_container
def test_capability_that_the_caller_does_not_have_is_none_of_all() -> None:
    def act() -> int:
        prctl(PR_CAPBSET_DROP, NUMBERS["NET_RAW"])
        return plan_capabilities(make_spec(userns="host", cap_add=["all"])) or 0

    assert run_in_child(act) == int(read_status("CapBnd")[0], 16) & ~(1 << NUMBERS["NET_RAW"])


@requires_root
@in_container
def test_caller_that_can_take_nothing_away_makes_no_container_in_its_own_user_namespace() -> None:
    def act() -> None:
        mask = int(read_status("CapPrm")[0], 16) & ~(1 << NUMBERS["SETPCAP"])
        perform(keep_capabilities(mask))
        spawn(make_spec(userns="host"))

    with pytest.raises(SetupError) as info:
        run_in_child(act)

    assert str(info.value) == (
        "cannot take capabilities from the container; the caller lacks CAP_SETPCAP"
    )


def test_command_without_a_container_keeps_what_it_has() -> None:
    fields = {"isolate": False, "rootfs": "host", "network": "host"}
    text = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status; ulimit -c"

    outside = capture_child(lambda: execute(("sh", "-c", text), dict(os.environ), guarded=None))
    outcome = run_captured(script(text, **fields))

    assert outcome.stdout == outside.text


@in_container
@pytest.mark.parametrize("user", ["1:1", "nobody"])
@requires_subordinate_ids
def test_user_who_is_not_root_has_no_capability(user: str) -> None:
    text = "grep ^Cap /proc/self/status"
    with running(make_spec(argv=["sleep", "1000"], user=user, cap_add=["sys_time"])) as container:
        beside = run_script(container, text).text
    command = run_captured(script(text, user=user)).stdout

    assert command.split()[1::2] == sets(0, KEPT)
    assert beside.split()[1::2] == sets(0, KEPT | 1 << NUMBERS["SYS_TIME"])


@in_container
@pytest.mark.parametrize(("allowed", "shown"), [(False, "1"), (True, "0")])
def test_programs_grant_privileges_only_where_that_is_allowed(allowed: bool, shown: str) -> None:
    text = "grep ^NoNewPrivs /proc/self/status"

    with running(make_spec(argv=["sleep", "1000"], allow_new_privs=allowed)) as container:
        beside = run_script(container, text).text
    command = run_captured(script(text, allow_new_privs=allowed)).stdout

    assert (command.split()[1], beside.split()[1]) == (shown, shown)


def test_limits_are_set() -> None:
    def act() -> tuple[object, ...]:
        perform(set_rlimits([("nofile", 20, 40), ("core", 0, 0)]))
        return resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)

    assert run_in_child(act) == ((20, 40), (0, 0))


@pytest.mark.parametrize("name", sorted(set(RLIMIT_NAMES) - {"nice", "rtprio"}))
def test_limit_of_any_name_is_set(name: str) -> None:
    number = getattr(resource, f"RLIMIT_{name.upper()}")
    _, hard = resource.getrlimit(number)
    wanted = 2**40 if hard == UNLIMITED else max(1, hard) - 1  # which is enough to go on with
    soft = max(1, wanted) - 1

    def act() -> tuple[int, int]:
        perform(set_rlimits([(name, soft, wanted)]))
        return resource.getrlimit(number)

    assert run_in_child(act) == (soft, wanted)


@in_container
@pytest.mark.parametrize(
    ("rlimits", "shown"), [([], "1"), ([Rlimit("core", 5)], "5"), ([Rlimit("nofile", 99)], "1")]
)
def test_container_leaves_no_core_file_unless_it_is_asked_for(
    rlimits: list[Rlimit], shown: str
) -> None:
    def act() -> tuple[str, str]:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
        # In blocks of 512 bytes, as POSIX has them.
        text = "grep 'core file' /proc/self/limits"
        with running(make_spec(argv=["sleep", "1000"], rlimits=rlimits)) as container:
            beside = run_script(container, text).text
        return run_captured(script(text, rlimits=rlimits)).stdout, beside

    command, beside = run_in_child(act)

    assert command.split()[4:6] == beside.split()[4:6] == [shown, shown]


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
            perform(set_rlimits((r.name, r.soft, r.hard) for r in clamped))

        run_in_child(act)

    try_one()


def test_command_starts_with_no_signal_ignored_or_blocked() -> None:
    def act() -> None:
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ, signal.SIGCHLD, 34, 64):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        perform(reset_signals(find_changed_signals()))
        words = ("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
        execute(words, {"PATH": "/usr/bin:/bin"}, guarded=None)

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

    text = f"({attempt}) && touch /data/x /tmp/again/x"
    outcome = run_captured(script(text, volumes=[volume], cap_add=["all"]))

    assert not outcome.status.success
    assert list(tmp_path.iterdir()) == []


@in_container
def test_root_with_the_capability_may_mount_what_concerns_nobody_else() -> None:
    text = "mkdir /tmp/new && mount -t tmpfs none /tmp/new && touch /tmp/new/x && umount /tmp/new"

    outcome = run_captured(script(text, cap_add=["sys_admin"], tmpfs=[Tmpfs("/tmp/other")]))

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
    outcome = run_captured(script(attempt, cap_add=["all"]))

    assert not outcome.status.success
    assert outcome.stdout == ""
    assert "denied" in outcome.stderr or "not permitted" in outcome.stderr
