"""The numbers, against those of libseccomp."""

import pytest

from mocker.isolation.seccomp.tables import NEWEST, TABLES, read_table
from tests.isolation.seccomp.libseccomp import find_name, knows

MOST = 600
ARM_PRIVATE = range(0xF_0000, 0xF_0010)
# Which Debian 12's does not know yet, at the most.
NEWER_THAN_LIBSECCOMP = frozenset(
    """
    cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount
    lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat
    removexattrat open_tree_attr file_getattr file_setattr listns uretprobe uprobe
    """.split()
)

each_table = pytest.mark.parametrize("table", TABLES)


@each_table
def test_numbers_are_libseccomps(table: str) -> None:
    names = dict[int, set[str]]()
    for name, number in read_table(table).items():
        names.setdefault(number, set()).add(name)

    theirs = {number: find_name(table, number) for number in names}

    assert {n: name for n, name in theirs.items() if name and name not in names[n]} == {}


@each_table
def test_names_of_which_libseccomp_knows_the_number_are_all_that_are_older_than_it(
    table: str,
) -> None:
    unknown = {name for name in read_table(table) if not knows(name)}

    assert unknown <= NEWER_THAN_LIBSECCOMP


@each_table
def test_no_call_that_libseccomp_knows_is_missing(table: str) -> None:
    named = set(read_table(table).values())
    private = ARM_PRIVATE if table == "arm" else range(0)

    missing = [
        name
        for number in (*range(MOST), *private)
        if (name := find_name(table, number))
        if number not in named
    ]

    assert missing == []


@each_table
def test_table_is_in_the_order_of_its_numbers(table: str) -> None:
    numbers = list(read_table(table).values())

    assert numbers == sorted(numbers)
    assert numbers[0] == 0


def test_newest_is_the_last_number_of_all_tables_but_for_private_ones() -> None:
    assert {max(n for n in read_table(table).values() if n < MOST) for table in TABLES} == {NEWEST}
