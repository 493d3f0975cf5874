"""The default filter, against docker's list and, call by call, against libseccomp."""

from errno import ENOSYS
from itertools import chain

import pytest

from mocker.isolation.seccomp.bpf import ALLOW, DENY, ERRNO, Verdict
from mocker.isolation.seccomp.default import plan_default
from mocker.isolation.seccomp.ranges import MACHINES, Policy, compile_policies, find_tables
from mocker.isolation.seccomp.tables import NEWEST, read_table
from tests.isolation.seccomp.bpf_machine import Instruction, read_program, run_filter
from tests.isolation.seccomp.docker_allows import (
    ALWAYS,
    BY_CAPABILITY,
    BY_MACHINE,
    FAMILIES_BELOW,
    FAMILIES_FROM_THERE,
    SINCE_4_8,
    SOMETIMES,
)
from tests.isolation.seccomp.libseccomp import ARCHITECTURES, Rule, compile_rules, find_name, knows
from tests.isolation.seccomp.profiles import MACHINES as DOCKERS_MACHINES
from tests.isolation.seccomp.profiles import decide_with, write_dockers

ABSENT = ERRNO | ENOSYS
NONE: frozenset[str] = frozenset()
DEFAULT_SET = frozenset({"SYS_CHROOT"})
ALL = frozenset(BY_CAPABILITY)
KINDS = {"none": NONE, "default": DEFAULT_SET, "all": ALL} | {
    name: frozenset({name}) for name in BY_CAPABILITY
}

CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWTIME = 0x1000_0000, 0x2_0000, 0x80
TIOCSTI, TIOCLINUX, TCGETS = 0x5412, 0x541C, 0x5401
# Looked at by the arguments, so that no list of names says it all.
MOUNT_API = {
    *("open_tree", "open_tree_attr", "move_mount", "mount_setattr"),
    *("fsopen", "fsconfig", "fsmount", "fspick"),
}
# What docker lets through, for some capability, and mocker for none.
NOBODYS = {*MOUNT_API, "bpf", "perf_event_open"}
# What docker lets through for a capability, and root of mocker's needs none for.
ROOTS = {"sethostname"}
BY_ARGUMENTS = {"clone", "ioctl", "personality", "socket", "socketcall", "unshare"}
# Of which docker lets more through.
STRICTER = {*NOBODYS, "clone", "clone3", "ioctl", "socketcall", "unshare"}
VALUES = (
    *range(50),  # the families of sockets, and what may come after them
    *(0x5401, 0x5412, 0x541C, 0x2_0000, 0x2_0008),
    *(0x7E02_0000, 0x1000_0000, 0x1001_0F00, 2**31, 2**32 - 1, 2**63),
    *(2**32 + 2, 2**32 + 38, 2**32 + 0x5412, 2**32 + 0x2_0000, 2**32 + 0x1000_0000),
)
X32 = 2**30

each_kind = pytest.mark.parametrize("capabilities", KINDS.values(), ids=KINDS)
each_table = pytest.mark.parametrize(
    ("machine", "table"),
    [(machine, table) for machine in ("x86_64", "aarch64") for table, _ in MACHINES[machine]],
)


def compile_default(machine: str, capabilities: frozenset[str] = DEFAULT_SET) -> list[Instruction]:
    tables = find_tables(machine)
    policy = plan_default(capabilities)
    return read_program(compile_policies({table: policy for table, _ in tables}, tables))


def decide(table: str, name: str, *arguments: int, capabilities: frozenset[str] = NONE) -> int:
    machine = "x86_64" if table in {"x86_64", "i386"} else "aarch64"
    program = compile_default(machine, capabilities)
    return run_filter(program, ARCHITECTURES[table], read_table(table)[name], arguments)


@pytest.mark.parametrize("flags", [0, 8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF])
def test_personalities_are_dockers(flags: int) -> None:
    assert decide("x86_64", "personality", flags) == ALLOW
    assert decide("x86_64", "personality", flags ^ 0x4_0000) == DENY


@each_kind
@each_table
def test_calls_that_are_let_through_are_those_of_docker_but_for_two(
    machine: str, table: str, capabilities: frozenset[str]
) -> None:
    given = chain.from_iterable(BY_CAPABILITY[name].split() for name in capabilities)
    word = DOCKERS_MACHINES[machine]
    here = chain.from_iterable(names.split() for by, names in BY_MACHINE.items() if word in by)
    docker = {*ALWAYS, *SINCE_4_8, *SOMETIMES, *here, *given} - {"clone3"} - NOBODYS | ROOTS
    program = compile_default(machine, capabilities)

    ours = {
        name
        for name, number in read_table(table).items()
        if run_filter(program, ARCHITECTURES[table], number) == ALLOW
    }

    assert ours == docker & set(read_table(table))


@each_kind
@each_table
def test_verdicts_are_libseccomps(machine: str, table: str, capabilities: frozenset[str]) -> None:
    policy = plan_default(capabilities)
    lenient = compile_rules(table, ALLOW, write_rules(policy, ALLOW))
    strict = compile_rules(table, DENY, write_rules(policy, DENY))
    program = compile_default(machine, capabilities)
    table_number = ARCHITECTURES[table]

    for number in range(NEWEST + 1):
        name = find_name(table, number)
        if name in BY_ARGUMENTS:
            theirs = strict if ends_strictly(policy.verdicts[name]) else lenient
            for arguments in list_arguments(table, name):
                expected = run_filter(theirs, table_number, number, arguments)
                assert run_filter(program, table_number, number, arguments) == expected, name
        elif name:
            expected = run_filter(lenient, table_number, number)
            assert run_filter(program, table_number, number) == expected, name


@each_kind
@each_table
def test_whatever_dockers_whole_profile_denies_is_denied(
    machine: str, table: str, capabilities: frozenset[str]
) -> None:
    theirs = decide_with(write_dockers(), table, capabilities)
    program, table_number = compile_default(machine, capabilities), ARCHITECTURES[table]

    different = {
        (name, ours == ALLOW)
        for name, number in read_table(table).items()
        for arguments in list_arguments(table, name)
        if (ours := run_filter(program, table_number, number, arguments))
        != theirs(number, *arguments)
        and ALLOW in {ours, theirs(number, *arguments)}
    }

    assert different <= {(name, False) for name in STRICTER} | {(name, True) for name in ROOTS}


@each_table
def test_number_without_a_name_is_denied_and_one_that_is_newer_is_as_if_it_did_not_exist(
    machine: str, table: str
) -> None:
    program, named = compile_default(machine), set(read_table(table).values())

    verdicts = {
        number: run_filter(program, ARCHITECTURES[table], number)
        for number in (*range(700), 9999, 0x9_0000, 0xF_0000, 0xF_0007)
        if number not in named
    }

    assert {n for n, verdict in verdicts.items() if verdict == ABSENT} == {
        n for n in verdicts if n > NEWEST
    }
    assert set(verdicts.values()) <= {DENY, ABSENT}


@pytest.mark.parametrize(
    "number", [0, 1, 57, 335, 512, 520, 547, 2**30 - 1, 2**31, 2**32 - 1 - X32]
)
def test_calls_with_short_pointers_are_denied(number: int) -> None:
    program = compile_default("x86_64", ALL)

    assert run_filter(program, ARCHITECTURES["x86_64"], (X32 + number) % 2**32) == DENY


@pytest.mark.parametrize("table", [0, 1, 0x4000_0028, 0xC000_00B7, 2**32 - 1])
def test_call_of_a_table_that_the_machine_does_not_have_kills(table: int) -> None:
    assert run_filter(compile_default("x86_64", ALL), table, 1) == 0


@pytest.mark.parametrize("table", ["x86_64", "i386", "aarch64", "arm"])
@pytest.mark.parametrize("capabilities", [NONE, ALL], ids=["none", "all"])
class TestInEveryTable:
    def test_user_namespaces_are_denied(self, table: str, capabilities: frozenset[str]) -> None:
        flags = CLONE_NEWUSER | 17

        assert decide(table, "clone", flags, capabilities=capabilities) == DENY
        assert decide(table, "clone", flags | 2**32, capabilities=capabilities) == DENY
        assert decide(table, "unshare", flags, capabilities=capabilities) == DENY
        assert decide(table, "clone3", capabilities=capabilities) == ABSENT

    def test_forks_and_threads_are_let_through(
        self, table: str, capabilities: frozenset[str]
    ) -> None:
        for flags in (17, 0x3D_0F00, 0x120_0011):
            assert decide(table, "clone", flags, capabilities=capabilities) == ALLOW

    def test_families_are_dockers(self, table: str, capabilities: frozenset[str]) -> None:
        values = [high + family for high in (0, 2**31, 2**32, 2**63) for family in range(256)]

        allowed = {
            value
            for value in values
            if decide(table, "socket", value, capabilities=capabilities) == ALLOW
        }

        assert allowed == {*range(FAMILIES_BELOW), *FAMILIES_FROM_THERE}

    @pytest.mark.parametrize("high", [0, 2**32, 2**63])
    def test_typing_into_terminals_is_denied(
        self, table: str, capabilities: frozenset[str], high: int
    ) -> None:
        verdicts = {
            request: decide(table, "ioctl", 0, high | request, capabilities=capabilities)
            for request in (TIOCSTI, TIOCLINUX, TCGETS)
        }

        assert verdicts == {TIOCSTI: DENY, TIOCLINUX: DENY, TCGETS: ALLOW}

    @pytest.mark.parametrize(
        "name",
        [
            *("keyctl", "add_key", "request_key", "userfaultfd", "pivot_root"),
            *("io_uring_setup", "io_uring_enter", "io_uring_register", "kexec_load"),
        ],
    )
    def test_no_capability_gives(self, table: str, capabilities: frozenset[str], name: str) -> None:
        assert decide(table, name, capabilities=capabilities) == DENY


@pytest.mark.parametrize("table", ["x86_64", "i386", "aarch64", "arm"])
@pytest.mark.parametrize(
    "name",
    [
        *("mount", "umount2", "setns"),
    ],
)
def test_only_an_administrator_may(table: str, name: str) -> None:
    assert decide(table, name) == DENY
    assert decide(table, name, capabilities=frozenset({"SYS_ADMIN"})) == ALLOW


@pytest.mark.parametrize("table", ["x86_64", "i386", "aarch64", "arm"])
def test_mount_api_is_absent_so_that_mount_does_without(table: str) -> None:
    for name in MOUNT_API:
        assert decide(table, name) == DENY
        assert decide(table, name, capabilities=ALL) == ERRNO | ENOSYS


@pytest.mark.parametrize("name", ["bpf", "perf_event_open"])
def test_no_capability_gives_what_looks_into_the_kernel(name: str) -> None:
    assert decide("x86_64", name, capabilities=ALL) == DENY


def test_administrator_makes_other_namespaces() -> None:
    admin = frozenset({"SYS_ADMIN"})

    assert decide("x86_64", "clone", CLONE_NEWNS) == DENY
    assert decide("x86_64", "unshare", CLONE_NEWNS) == DENY
    assert decide("x86_64", "unshare", CLONE_NEWTIME) == DENY
    assert decide("x86_64", "clone", CLONE_NEWNS, capabilities=admin) == ALLOW
    assert decide("x86_64", "unshare", CLONE_NEWNS, capabilities=admin) == ALLOW


def test_sockets_are_not_opened_by_the_call_that_hides_the_family() -> None:
    for high in (0, 2**32):
        verdicts = [decide("i386", "socketcall", high | number) for number in range(22)]

        assert verdicts == [ALLOW, DENY, *[ALLOW] * 20]


def list_arguments(table: str, name: str) -> list[tuple[int, ...]]:
    """Return arguments that a call is to be tried with; one that is not looked into has none."""
    if name not in BY_ARGUMENTS:
        return [()]
    values = [value for value in VALUES if value < 2**32 or table in {"x86_64", "aarch64"}]
    return [pair for value in values for pair in ((value, 0), (0, value), (value, value))]


def ends_strictly(verdict: Verdict) -> bool:
    """Whether what no condition of a verdict is about is denied."""
    return not isinstance(verdict, int) and verdict[-1][0] == DENY


def write_rules(policy: Policy, default: int) -> list[Rule]:
    """Return a policy as rules on top of a default: those verdicts that end with it."""
    rules = list[Rule]()
    for name, verdict in policy.verdicts.items():
        if not knows(name):
            continue
        if isinstance(verdict, int):
            rules += [(verdict, name, ())] if verdict != default else []
        elif verdict[-1][0] == default:
            rules += [(action, name, conditions) for action, conditions in verdict[:-1]]
    return rules
