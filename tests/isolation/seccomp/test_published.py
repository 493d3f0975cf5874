"""What becomes of the profiles that others publish, against libseccomp, call by call."""

import json
from collections import defaultdict
from errno import ENOSYS
from itertools import product

import pytest

from mocker.isolation.capabilities import DEFAULT_SET
from mocker.isolation.seccomp.bpf import ALLOW, DENY, ERRNO, KILL_THREAD, WORD
from mocker.isolation.seccomp.docker_format import parse_profile
from mocker.isolation.seccomp.profile import check_profile, compile_profile
from mocker.isolation.seccomp.ranges import find_tables
from mocker.isolation.seccomp.tables import NEWEST, TABLES, read_table
from tests.isolation.seccomp import docker_allows
from tests.isolation.seccomp.bpf_machine import read_program, run_filter
from tests.isolation.seccomp.libseccomp import ARCHITECTURES, Rule, compile_rules, find_name
from tests.isolation.seccomp.profiles import decide_with
from tests.isolation.seccomp.published import (
    each_profile,
    list_capabilities,
    read_profile,
    read_rules,
    requires_published_profiles,
)

pytestmark = requires_published_profiles

ABSENT = ERRNO | ENOSYS
X32 = 2**30
# A call of PowerPC, one of MIPS, and one that some machines have kept a number for.
ELSEWHERE = {"swapcontext", "syscall", "timerfd"}
# Podman's profile has two entries for it, of which one permits what the other forbids. libseccomp
# goes by the first, mocker by the stricter.
CONTRADICTORY = {"podman": {"setns"}}
# Docker's own that is published in a package is of version 20.10 or later, and `docker_allows` of
# 2026.
PERMITTED_SINCE = set(
    """
    cachestat fchmodat2 futex_requeue futex_wait futex_wake getxattrat listmount listxattrat
    map_shadow_stack mseal name_to_handle_at pkey_alloc pkey_free pkey_mprotect removexattrat
    riscv_hwprobe setxattrat statmount uretprobe
    """.split()
)
# The last one depends on its first argument now.
FORBIDDEN_SINCE = {"io_uring_enter", "io_uring_register", "io_uring_setup", "socket"}
CHANGED_SINCE = {
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
    ("SYS_ADMIN", "lsm_get_self_attr"),
    ("SYS_ADMIN", "lsm_list_modules"),
    ("SYS_ADMIN", "lsm_set_self_attr"),
    ("SYS_ADMIN", "name_to_handle_at"),
    ("SYS_NICE", "set_mempolicy_home_node"),
    ("SYS_TIME", "clock_settime64"),
}
DOCKERS_NAMES = {
    "x86_64": "SCMP_ARCH_X86_64",
    "i386": "SCMP_ARCH_X86",
    "aarch64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
}

each_table = pytest.mark.parametrize("table", TABLES)


def test_what_is_known_of_dockers_default_is_what_docker_has_published() -> None:
    entries = json.loads(read_profile("docker"))["syscalls"]
    always = set[str]()
    by_capability = defaultdict[str, set[str]](set)
    for entry in entries:
        inside, outside = entry.get("includes") or {}, entry.get("excludes") or {}
        if entry["action"] != "SCMP_ACT_ALLOW" or entry.get("args"):
            continue
        if set(inside) == {"caps"}:
            by_capability[inside["caps"][0].removeprefix("CAP_")].update(entry["names"])
        elif not inside and not outside:
            always.update(entry["names"])

    assert docker_allows.ALWAYS - always <= PERMITTED_SINCE
    assert always - docker_allows.ALWAYS <= FORBIDDEN_SINCE
    known = {name: set(calls.split()) for name, calls in docker_allows.BY_CAPABILITY.items()}
    since = {
        (name, call)
        for name in {*known, *by_capability}
        for call in known.get(name, set()) ^ by_capability[name]
    }
    assert since <= CHANGED_SINCE
    assert len(always) > 300


@each_profile
def test_every_entry_is_taken(profile: str) -> None:
    text = read_profile(profile)

    check_profile(text)

    assert len(parse_profile(text).entries) == len(json.loads(text)["syscalls"]) > 20


@each_profile
def test_every_call_is_known_but_those_of_other_machines(profile: str) -> None:
    known = set[str]().union(*map(read_table, TABLES))

    names = {name for entry in parse_profile(read_profile(profile)).entries for name in entry.names}

    unknown = {name for name in names - known if not name.startswith(("s390_", "riscv_"))}
    assert unknown <= ELSEWHERE
    assert len(names) > 300


@each_table
@each_profile
def test_verdicts_are_libseccomps_whatever_the_capabilities(profile: str, table: str) -> None:
    named = list_capabilities(profile)
    for capabilities in (*({name} for name in named), set[str](), DEFAULT_SET, named):
        compare_with_libseccomp(profile, table, frozenset(capabilities))


@each_table
@each_profile
def test_call_is_absent_that_came_after_the_profile(profile: str, table: str) -> None:
    decide = decide_with(read_profile(profile), table)

    assert decide(NEWEST) == decide(NEWEST + 1) == ABSENT


@each_profile
def test_filter_of_this_machine_has_the_verdicts_of_each_table_that_the_profile_names(
    profile: str,
) -> None:
    text, tables = read_profile(profile), dict(find_tables())
    native = next(iter(tables))

    program = read_program(compile_profile(text, DEFAULT_SET))

    for table, number in tables.items():
        decide = decide_with(text, table, DEFAULT_SET)
        is_named = table == native or f'"{DOCKERS_NAMES[table]}"' in text
        for call in range(NEWEST + 2):
            expected = decide(call) if is_named else KILL_THREAD
            assert run_filter(program, number, call) == expected


@each_profile
def test_calls_with_short_pointers_are_denied_though_the_profile_names_them(profile: str) -> None:
    assert '"SCMP_ARCH_X32"' in read_profile(profile)

    decide = decide_with(read_profile(profile), "x86_64")

    assert {decide(X32 + number) for number in range(600)} == {DENY}


def compare_with_libseccomp(profile: str, table: str, capabilities: frozenset[str]) -> None:
    """Ask both about each call, and where the profile looks at arguments, with those about there.

    Of what libseccomp does not know yet, the profile says it itself. What came after the profile is
    absent, as with docker's runtime, which sees to it without libseccomp.
    """
    default, rules = read_rules(profile, table, capabilities)
    others = [rule for found in rules.values() for rule in found if rule[0] != default]
    theirs = compile_rules(table, default, dict.fromkeys(others))
    ours = decide_with(read_profile(profile), table, capabilities)
    numbers = read_table(table)
    newest = max(number for name in rules if (number := numbers.get(name, 0)) <= NEWEST)
    for name, number in numbers.items():
        found = rules.get(name, [])
        if number > newest and not found:
            assert ours(number) == (ABSENT if number <= NEWEST else default), name
        elif name in CONTRADICTORY.get(profile, ()):
            assert ours(number) == min(action for action, _, _ in found), name
        elif find_name(table, number) != name:
            assert [(ours(number), name, ())] == (found or [(default, name, ())])
        else:
            for arguments in list_arguments(table, found):
                expected = run_filter(theirs, ARCHITECTURES[table], number, arguments)
                assert ours(number, *arguments) == expected, (name, arguments)


def list_arguments(table: str, rules: list[Rule]) -> list[tuple[int, ...]]:
    """Return arguments around those that conditions are about."""
    values = [{0} for _ in range(6)]
    for _, _, conditions in rules:
        for index, mask, _, value in conditions:
            for word in {mask, value} - {WORD}:
                values[index] |= {word, word + 1, max(word, 1) - 1, 2**32 + word, 0x1000_0000}
    is_wide = table in {"x86_64", "aarch64"}
    return list(product(*({v for v in found if is_wide or v < 2**32} for found in values)))


def test_conditions_are_looked_at() -> None:
    _, rules = read_rules("docker", "x86_64", frozenset())

    assert len(list_arguments("x86_64", rules["personality"])) > 10
    assert len(list_arguments("x86_64", rules["read"])) == 1
    assert {action for action, *_ in rules["read"]} == {ALLOW}
