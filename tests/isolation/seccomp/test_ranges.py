from collections.abc import Sequence

import pytest

from mocker.isolation import SetupError
from mocker.isolation.seccomp.bpf import ALLOW, DENY, KILL_THREAD, LOG, TRAP
from mocker.isolation.seccomp.ranges import (
    MACHINES,
    Policy,
    compile_policies,
    find_tables,
    lay_out,
)
from mocker.isolation.seccomp.tables import NEWEST, read_table
from tests.isolation.seccomp.bpf_machine import read_program, run_filter
from tests.isolation.seccomp.libseccomp import ARCHITECTURES

X32 = 2**30


@pytest.mark.parametrize("table", ["x86_64", "i386", "aarch64", "arm"])
def test_every_number_has_a_verdict(table: str) -> None:
    names = {number: name for name, number in read_table(table).items()}
    ranges = lay_out(table, Policy({"read": ALLOW, "seccomp": TRAP}, LOG, DENY, KILL_THREAD))

    starts = [start for start, _ in ranges]
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    for number in (*range(NEWEST + 3), 2**20, X32 - 1):
        (verdict,) = [v for start, v in ranges if start <= number][-1:]
        named = {"read": ALLOW, "seccomp": TRAP}.get(names.get(number, ""), LOG)
        unnamed = DENY if number <= NEWEST else KILL_THREAD
        assert verdict == (named if number in names else unnamed)


@pytest.mark.parametrize("table", ["x86_64", "i386", "aarch64", "arm"])
def test_what_came_later_is_beyond_unless_it_has_a_verdict(table: str) -> None:
    names = {number: name for name, number in read_table(table).items()}
    newest = read_table(table)["openat2"]
    policy = Policy({"read": ALLOW, "mseal": TRAP}, LOG, DENY, KILL_THREAD, newest)

    ranges = lay_out(table, policy)

    for number in range(NEWEST + 3):
        (verdict,) = [v for start, v in ranges if start <= number][-1:]
        within = LOG if number in names else DENY
        otherwise = within if number <= newest else KILL_THREAD
        assert verdict == {"read": ALLOW, "mseal": TRAP}.get(names.get(number, ""), otherwise)


@pytest.mark.parametrize("name", ["arm_sync_file_range", "sync_file_range2"])
def test_both_names_of_a_call_mean_it(name: str) -> None:
    ranges = lay_out("arm", Policy({name: ALLOW}, DENY, DENY, DENY))

    assert [number for number, verdict in ranges if verdict == ALLOW] == [341]


def test_table_without_a_policy_kills() -> None:
    tables = find_tables("x86_64")
    policy = Policy({}, ALLOW, ALLOW, ALLOW)

    program = read_program(compile_policies({"x86_64": policy}, tables))

    assert run_filter(program, ARCHITECTURES["x86_64"], 1) == ALLOW
    assert run_filter(program, ARCHITECTURES["i386"], 1) == KILL_THREAD


def test_short_pointers_are_denied_even_where_all_else_is_let_through() -> None:
    ranges = lay_out("x86_64", Policy({}, ALLOW, ALLOW, ALLOW))

    assert ranges[-1] == (X32, DENY)


@pytest.mark.parametrize("tables", MACHINES.values(), ids=MACHINES)
def test_tables_have_the_kernels_numbers(tables: Sequence[tuple[str, int]]) -> None:
    assert dict(tables) == {table: ARCHITECTURES[table] for table, _ in tables}


@pytest.mark.parametrize("machine", ["riscv64", "ppc64le", "s390x", "vax"])
def test_machine_whose_calls_are_not_known_is_refused(machine: str) -> None:
    with pytest.raises(SetupError) as refused:
        find_tables(machine)

    assert str(refused.value) == (
        f"cannot filter system calls on {machine}; their numbers are not known; "
        "--seccomp unconfined does without a filter"
    )
