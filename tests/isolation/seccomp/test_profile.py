"""What becomes of docker's format: the verdicts, against libseccomp's where that has a say."""

import json
import os
from errno import EACCES, ENOSYS, EPERM

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mocker.isolation import ContainerSpec, SetupError, SpecError, run
from mocker.isolation.seccomp.bpf import (
    ALLOW,
    DENY,
    ERRNO,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    TRACE,
    TRAP,
)
from mocker.isolation.seccomp.profile import check_profile
from mocker.isolation.seccomp.tables import NEWEST, TABLES, read_table
from tests.containers import in_container
from tests.isolation.seccomp.bpf_machine import run_filter
from tests.isolation.seccomp.docker_allows import ALWAYS
from tests.isolation.seccomp.libseccomp import ARCHITECTURES, compile_rules, find_name
from tests.isolation.seccomp.profiles import (
    ALLOW_ALL,
    DENY_ALL,
    decide_here,
    decide_with,
    write,
    write_for_libseccomp,
)

ACTIONS = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_ERRNO": DENY,
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_TRACE": TRACE | EPERM,
    "SCMP_ACT_TRAP": TRAP,
}
# Calls of each sort: with and without arguments that i386 has elsewhere, and of one table alone.
NAMES = [
    *("read", "write", "socket", "bind", "sendto", "listen", "recv", "shmat", "semop", "msgget"),
    *("socketcall", "ipc", "arch_prctl", "clone", "personality", "set_tls", "chown32", "openat2"),
]
VALUES = [0, 1, 2, 10, 17, 21, 38, 2**31, 2**32 - 1]
OPERATORS = ["EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ"]

arguments = st.builds(
    lambda index, operator, value, second: {
        "index": index,
        "op": f"SCMP_CMP_{operator}",
        "value": value,
        "valueTwo": second,
    },
    st.integers(0, 5),
    st.sampled_from(OPERATORS),
    st.sampled_from(VALUES),
    st.sampled_from(VALUES),
)
entries = st.fixed_dictionaries(
    {
        "names": st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
        "args": st.lists(arguments, max_size=2, unique_by=lambda argument: argument["index"]),
    }
)
each_table = pytest.mark.parametrize("table", TABLES)


@settings(max_examples=150, deadline=None)
@given(
    table=st.sampled_from(sorted(TABLES)),
    default=st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL"]),
    action=st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_TRAP"]),
    found=st.lists(entries, max_size=6),
    values=st.lists(st.sampled_from(VALUES), min_size=6, max_size=6),
)
def test_verdicts_are_libseccomps(
    table: str, default: str, action: str, found: list[dict[str, list[str]]], values: list[int]
) -> None:
    text = write({"defaultAction": default}, *({**entry, "action": action} for entry in found))
    rules = dict.fromkeys(
        rule
        for rule in write_for_libseccomp(text, ACTIONS[default])
        if rule[1] in read_table(table)  # it stumbles over others
    )
    theirs = compile_rules(table, ACTIONS[default], rules)

    ours = decide_with(text, table)

    # Of calls that are several, it compares the wrong arguments, and forgets two. Of several
    # entries for one call, it may drop one.
    names = [name for entry in found for name in entry["names"]]
    newest = find_newest(table, names)
    for name in set(NAMES) - {"ipc", "socketcall"}:
        number = read_table(table).get(name)
        if number is None or not find_name(table, number) or names.count(name) > 1:
            continue
        for first in VALUES:
            given = [first, *values[1:]]
            expected = run_filter(theirs, ARCHITECTURES[table], number, given)
            if default != "SCMP_ACT_ALLOW" and newest < number <= NEWEST:
                expected = ERRNO | ENOSYS
            assert ours(name, *given) == expected, (name, given)


@each_table
def test_list_as_long_as_dockers_has_libseccomps_verdicts(table: str) -> None:
    text = write(DENY_ALL, {"names": sorted(ALWAYS), "action": "SCMP_ACT_ALLOW"})
    theirs = compile_rules(table, DENY, write_for_libseccomp(text, DENY))

    ours = decide_with(text, table)

    for number in filter(lambda number: find_name(table, number), range(NEWEST + 1)):
        assert ours(number) == run_filter(theirs, ARCHITECTURES[table], number)


@pytest.mark.parametrize(("action", "verdict"), ACTIONS.items(), ids=ACTIONS)
def test_actions_are_carried_out(action: str, verdict: int) -> None:
    entry = {"names": ["chdir"], "action": action}

    assert decide_with(write(ALLOW_ALL, entry), "x86_64")("chdir") == verdict
    assert decide_with(write({"defaultAction": action}), "x86_64")("chdir") == verdict


@pytest.mark.parametrize(
    "numbers",
    [{"errnoRet": EACCES}, {"errno": "EACCES"}, {"errnoRet": EACCES, "errno": "EACCES"}],
)
def test_errno_is_what_the_call_fails_with(numbers: dict[str, object]) -> None:
    entry = {"names": ["chdir"], "action": "SCMP_ACT_ERRNO", **numbers}

    assert decide_with(write(ALLOW_ALL, entry), "x86_64")("chdir") == ERRNO | EACCES


@pytest.mark.parametrize("numbers", [{"defaultErrnoRet": EACCES}, {"defaultErrno": "EACCES"}])
def test_default_errno_is_what_all_else_fails_with(numbers: dict[str, object]) -> None:
    decide = decide_with(write({**DENY_ALL, **numbers}), "x86_64")

    assert decide("chdir") == ERRNO | EACCES


@pytest.mark.parametrize(
    ("default", "verdict"),
    [
        ("SCMP_ACT_ALLOW", ALLOW),
        ("SCMP_ACT_LOG", LOG),
        ("SCMP_ACT_ERRNO", ERRNO | ENOSYS),
        ("SCMP_ACT_KILL", ERRNO | ENOSYS),
    ],
)
def test_call_that_is_newer_is_as_if_it_did_not_exist_unless_all_is_let_through(
    default: str, verdict: int
) -> None:
    decide = decide_with(write({"defaultAction": default}), "x86_64")

    assert decide(NEWEST + 1) == verdict


@each_table
@pytest.mark.parametrize(
    ("default", "before", "after"),
    [
        ("SCMP_ACT_ALLOW", ALLOW, ALLOW),
        ("SCMP_ACT_LOG", LOG, LOG),
        ("SCMP_ACT_ERRNO", DENY, ERRNO | ENOSYS),
        ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS, ERRNO | ENOSYS),
    ],
)
def test_call_that_came_after_all_that_a_profile_names_is_as_if_it_did_not_exist(
    table: str, default: str, before: int, after: int
) -> None:
    entry = {"names": ["read", "io_uring_setup", "s390_pci_mmio_read"], "action": "SCMP_ACT_ALLOW"}
    absent = {"names": ["openat2"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}}

    decide = decide_with(write({"defaultAction": default}, entry, absent), table)

    newest = read_table(table)["io_uring_setup"]
    named, unnamed = {decide("read"), decide(newest)}, {decide("write"), decide(newest - 1)}
    assert (named, unnamed) == ({ALLOW}, {before})
    assert {decide(number) for number in range(newest + 1, NEWEST + 2)} == {after}


def test_private_calls_of_a_table_are_not_newer_than_others() -> None:
    text = write(DENY_ALL, {"names": ["read", "set_tls", "chown32"], "action": "SCMP_ACT_ALLOW"})

    decide = decide_with(text, "arm")

    assert decide("set_tls") == ALLOW
    assert decide("chown") == decide("cacheflush") == DENY
    assert decide("clone3") == ERRNO | ENOSYS


@pytest.mark.parametrize(
    ("circumstances", "counts"),
    [
        ({}, True),
        ({"includes": {"caps": ["CAP_SYS_TIME"]}}, True),
        ({"includes": {"caps": ["CAP_SYS_TIME", "CAP_SYS_BOOT"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_BOOT"]}}, True),
        ({"excludes": {"caps": ["CAP_SYS_TIME", "CAP_SYS_BOOT"]}}, False),
        ({"includes": {"arches": ["arm64", "amd64"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"excludes": {"arches": ["arm64"]}}, True),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"includes": {"minKernel": "4.8"}}, True),
        ({"includes": {"minKernel": "6.1"}}, True),
        ({"includes": {"minKernel": "6.10"}}, False),
        ({"excludes": {"minKernel": "4.8"}}, False),
        ({"excludes": {"minKernel": "6.2"}}, True),
        ({"includes": {}, "excludes": {}}, True),
        ({"includes": None, "excludes": None}, True),
        ({"includes": {"arches": None, "caps": [], "minKernel": None}}, True),
    ],
)
def test_entry_counts_in_its_circumstances(circumstances: dict[str, object], counts: bool) -> None:
    entry = {"names": ["chdir"], "action": "SCMP_ACT_ALLOW", **circumstances}

    decide = decide_with(write(DENY_ALL, entry), "x86_64", frozenset({"SYS_TIME"}))

    assert decide("chdir") == (ALLOW if counts else DENY)


@pytest.mark.parametrize(
    ("architectures", "others"),
    [
        ({}, KILL_THREAD),
        ({"architectures": []}, KILL_THREAD),
        ({"architectures": ["SCMP_ARCH_X86_64"]}, KILL_THREAD),
        ({"architectures": ["SCMP_ARCH_X86"]}, ALLOW),
        ({"archMap": [{"architecture": "SCMP_ARCH_AARCH64"}]}, KILL_THREAD),
        (
            {
                "archMap": [
                    {"architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_S390"]},
                    {
                        "architecture": "SCMP_ARCH_X86_64",
                        "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
                    },
                ]
            },
            ALLOW,
        ),
    ],
)
def test_table_that_a_profile_is_not_about_kills(
    architectures: dict[str, object], others: int
) -> None:
    text = write({**ALLOW_ALL, **architectures})

    assert decide_here(text, "x86_64")("chdir") == ALLOW
    assert decide_here(text, "i386")("chdir") == others


def test_entry_may_have_a_single_name() -> None:
    text = write(ALLOW_ALL, {"name": "chdir", "action": "SCMP_ACT_ERRNO"})

    assert decide_with(text, "x86_64")("chdir") == DENY


def test_strictest_of_several_entries_decides() -> None:
    names = {"names": ["socket"]}
    lenient = {**names, "action": "SCMP_ACT_ALLOW"}
    strict = {**names, "action": "SCMP_ACT_TRAP", "args": [{"index": 0, "op": "SCMP_CMP_EQ"}]}

    for found in ((lenient, strict), (strict, lenient)):
        decide = decide_with(write(DENY_ALL, *found), "x86_64")
        assert [decide("socket", family) for family in (0, 1)] == [TRAP, ALLOW]


def test_parts_of_a_call_are_allowed_one_by_one() -> None:
    text = write(DENY_ALL, {"names": ["bind", "accept", "shmat"], "action": "SCMP_ACT_ALLOW"})
    decide = decide_with(text, "i386")

    assert [n for n in range(30) if decide("socketcall", n) == ALLOW] == [2, 5]
    assert [n for n in range(30) if decide("ipc", n) == ALLOW] == [21]
    assert decide("ipc", 21 | 1 << 16) == ALLOW


@pytest.mark.parametrize(
    ("default", "action", "verdict"),
    [(ALLOW_ALL, "SCMP_ACT_ERRNO", DENY), (DENY_ALL, "SCMP_ACT_ALLOW", DENY)],
)
def test_part_whose_arguments_would_have_to_be_looked_at_is_denied_as_a_whole(
    default: dict[str, object], action: str, verdict: int
) -> None:
    condition = {"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}
    text = write(default, {"names": ["socket"], "action": action, "args": [condition]})

    decide = decide_with(text, "i386")

    assert decide("socketcall", 1) == verdict


def test_part_of_a_call_is_denied_whatever_version_of_it() -> None:
    decide = decide_with(write(ALLOW_ALL, {"names": ["shmat"], "action": "SCMP_ACT_ERRNO"}), "i386")

    assert decide("ipc", 21) == decide("ipc", 21 | 1 << 16) == DENY


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"])
def test_name_that_is_not_known_and_would_forbid_nothing_is_refused(default: str) -> None:
    entry = {"names": ["read", "opne"], "action": "SCMP_ACT_ERRNO"}

    with pytest.raises(SpecError) as refused:
        check_profile(write({"defaultAction": default}, entry), "strict.json")

    assert str(refused.value) == (
        "strict.json: syscalls[0].names has 'opne', a system call that is not known, "
        "and nothing else would stop it"
    )


def test_names_of_other_machines_may_be_let_through() -> None:
    entry = {"names": ["s390_pci_mmio_read"], "action": "SCMP_ACT_ALLOW"}

    check_profile(write(DENY_ALL, entry))
    check_profile(write(DENY_ALL, {**entry, "action": "SCMP_ACT_KILL"}))


def test_profile_that_is_too_long_is_refused_where_it_would_be_loaded() -> None:
    entry = {
        "args": [{"index": n, "op": "SCMP_CMP_GT", "value": 2**40} for n in range(6)],
    }
    different = [
        {**entry, "names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": number}
        for number, name in enumerate(sorted(read_table("x86_64")))
    ]
    spec = ContainerSpec(["true"], rootfs="host", seccomp=write(ALLOW_ALL, *different))

    with pytest.raises(SetupError, match=r"the seccomp profile makes \d+ instructions, and the"):
        run(spec)


@in_container
@pytest.mark.parametrize(("action", "code"), [("SCMP_ACT_ERRNO", 1), ("SCMP_ACT_KILL", 159)])
def test_profile_is_in_force(action: str, code: int) -> None:
    text = write(ALLOW_ALL, {"names": ["mkdir", "mkdirat"], "action": action})

    null = os.open(os.devnull, os.O_RDWR)
    try:
        status = run(ContainerSpec(["mkdir", "/tmp/x"], seccomp=text), stderr=null)
    finally:
        os.close(null)

    assert status.shell_code == code


def test_text_is_checked_where_it_is_described() -> None:
    with pytest.raises(SpecError, match="seccomp profile: defaultAction must be one of SCMP_ACT"):
        ContainerSpec(["true"], seccomp=json.dumps({}))


def find_newest(table: str, names: list[str]) -> int:
    """Return the highest number that a call of these has in a table; the highest of all if none."""
    numbers = [read_table(table).get(name, NEWEST + 1) for name in names]
    return max((number for number in numbers if number <= NEWEST), default=NEWEST)
