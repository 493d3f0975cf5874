"""The compiler, against libseccomp's: the same rules, run by the same machine."""

import operator
from errno import EACCES, EPERM
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mocker.isolation.seccomp.bpf import (
    ALLOW,
    DENY,
    EQ,
    ERRNO,
    GE,
    GT,
    KILL_PROCESS,
    KILL_THREAD,
    LE,
    LOG,
    LT,
    MOST_INSTRUCTIONS,
    NE,
    TRACE,
    TRAP,
    WORD,
    Condition,
    Ranges,
    Rule,
    compile_filter,
    decide,
)
from tests.isolation.seccomp.bpf_machine import read_program, run_filter
from tests.isolation.seccomp.libseccomp import ARCHITECTURES, compile_rules

X86_64 = ARCHITECTURES["x86_64"]
CALL, NUMBER = "ptrace", 101
OPERATORS = {"EQ": EQ, "NE": NE, "LT": LT, "LE": LE, "GE": GE, "GT": GT}
COMPARE = {
    EQ: operator.eq,
    NE: operator.ne,
    LT: operator.lt,
    LE: operator.le,
    GE: operator.ge,
    GT: operator.gt,
}
# Around the borders of halves and of signs.
VALUES = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**33, 2**63, 2**64 - 2, 2**64 - 1]

values = st.sampled_from(VALUES) | st.integers(0, WORD)
conditions = st.tuples(
    st.integers(0, 5), st.just(WORD), st.sampled_from(sorted(OPERATORS.values())), values
) | st.builds(
    lambda index, mask, value: (index, mask, EQ, value & mask), st.integers(0, 5), values, values
)


@pytest.mark.parametrize("how", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize("value", VALUES)
def test_arguments_are_compared_as_by_libseccomp(how: int, value: int) -> None:
    condition = (3, WORD, how, value)
    theirs = compile_rules("x86_64", DENY, [(ALLOW, CALL, (condition,))])

    ours = compile_call([(ALLOW, (condition,))], DENY)

    for argument in VALUES:
        arguments = 7, 7, 7, argument
        assert ours(arguments) == run_filter(theirs, X86_64, NUMBER, arguments), argument


@pytest.mark.parametrize("mask", [0, 0xFF, 2**32 - 1, 2**32, 0x7E02_0000, 0xFF_0000_00FF, WORD])
def test_masked_arguments_are_compared_as_by_libseccomp(mask: int) -> None:
    for value in {number & mask for number in VALUES}:
        condition = (0, mask, EQ, value)
        theirs = compile_rules("x86_64", ALLOW, [(DENY, CALL, (condition,))])

        ours = compile_call([(DENY, (condition,))], ALLOW)

        for argument in VALUES:
            expected = run_filter(theirs, X86_64, NUMBER, (argument,))
            assert ours((argument,)) == expected, (value, argument)


rules_of_one_call = st.lists(
    st.lists(conditions, min_size=1, max_size=4, unique_by=lambda condition: condition[0]),
    max_size=5,
)
six_values = st.lists(values, min_size=6, max_size=6)


@settings(max_examples=200, deadline=None)
@given(rules_of_one_call, six_values, st.data())
def test_rule_with_several_conditions_decides_as_in_libseccomp(
    rules: list[list[Condition]], arguments: list[int], data: st.DataObject
) -> None:
    rule = tuple(rules[0]) if rules else ()
    draw_what_is_compared(rules[:1], arguments, data)
    theirs = compile_rules("x86_64", DENY, [(ALLOW, CALL, rule)])

    ours = compile_call([(ALLOW, rule)], DENY)

    assert ours(arguments) == run_filter(theirs, X86_64, NUMBER, arguments)


# Not against libseccomp: of several rules for one call, it drops one now and then.
@settings(max_examples=200, deadline=None)
@given(rules_of_one_call, st.lists(st.sampled_from([LOG, DENY, TRAP])), six_values, st.data())
def test_several_rules_decide_by_the_strictest_that_holds(
    rules: list[list[Condition]], actions: list[int], arguments: list[int], data: st.DataObject
) -> None:
    draw_what_is_compared(rules, arguments, data)
    pairs = list(zip(actions, map(tuple, rules), strict=False))
    matching = [action for action, rule in pairs if all(holds(c, arguments) for c in rule)]

    ours = compile_call(pairs, ALLOW)

    assert ours(arguments) == min(matching, default=ALLOW)


@given(st.lists(st.tuples(st.integers(0, 700), st.sampled_from([ALLOW, DENY, LOG, TRAP]))))
def test_number_is_found_among_any_ranges(pairs: list[tuple[int, int]]) -> None:
    ranges: Ranges = sorted({0: KILL_THREAD, **dict(pairs)}.items())

    program = read_program(compile_filter([(X86_64, ranges)], KILL_PROCESS))

    for number in range(702):
        expected = [verdict for start, verdict in ranges if start <= number][-1]
        assert run_filter(program, X86_64, number) == expected


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
def test_number_that_is_alone_among_others_takes_one_instruction_and_is_found(count: int) -> None:
    alone = range(10, 10 + 2 * count, 2)
    ranges: Ranges = [(n, DENY if n in alone else ALLOW) for n in range(40)]

    program = read_program(compile_filter([(X86_64, ranges)], KILL_THREAD))

    around = compile_filter([(X86_64, [(0, ALLOW), (30, DENY)])], KILL_THREAD)
    assert len(program) <= len(read_program(around)) + count + count // 4
    assert [n for n in range(40) if run_filter(program, X86_64, n) == DENY] == [*alone]


def test_jumps_reach_over_more_than_a_byte_can_say() -> None:
    # A rule of its own for each of 100 calls, and each with 16 comparisons.
    ranges: Ranges = [
        (n, decide([(ERRNO | n, ((i, WORD, GT, n + i),)) for i in range(6)], ALLOW))
        for n in range(100)
    ]

    program = read_program(compile_filter([(X86_64, ranges), (7, [(0, DENY)])], KILL_THREAD))

    assert len(program) > 1000
    assert run_filter(program, 7, 0) == DENY
    assert run_filter(program, 8, 0) == KILL_THREAD
    for number in range(100):
        for index in range(6):
            arguments = [0] * index + [number + index + 1]
            assert run_filter(program, X86_64, number, arguments) == ERRNO | number
        assert run_filter(program, X86_64, number, range(number, number + 6)) == ALLOW


def test_program_that_the_kernel_would_not_take_is_refused() -> None:
    ranges: Ranges = [(n, ERRNO | n) for n in range(MOST_INSTRUCTIONS // 2)]

    with pytest.raises(ValueError, match=r"makes \d+ instructions, and the kernel takes 4096"):
        compile_filter([(X86_64, ranges)], KILL_THREAD)


def test_table_is_looked_at_before_the_number() -> None:
    tables: list[tuple[int, Ranges]] = [(5, [(0, ALLOW), (9, DENY)]), (6, [(0, DENY), (9, ALLOW)])]

    program = read_program(compile_filter(tables, KILL_PROCESS))

    verdicts = {table: [run_filter(program, table, n) for n in (0, 9)] for table in (5, 6, 7)}
    assert verdicts == {5: [ALLOW, DENY], 6: [DENY, ALLOW], 7: [KILL_PROCESS, KILL_PROCESS]}


@pytest.mark.parametrize(
    ("rules", "verdict"),
    [
        ([], DENY),
        ([(ALLOW, ())], ALLOW),
        ([(ALLOW, ()), (ERRNO | EACCES, ())], ERRNO | EACCES),
        ([(ERRNO | EACCES, ()), (ALLOW, ())], ERRNO | EACCES),
        ([(ERRNO | EACCES, ()), (ERRNO | EPERM, ())], ERRNO | EACCES),
        ([(LOG, ()), (TRACE, ()), (TRAP, ())], TRAP),
        ([(TRAP, ()), (KILL_THREAD, ())], KILL_THREAD),
        ([(KILL_THREAD, ()), (KILL_PROCESS, ())], KILL_PROCESS),
        ([(DENY, ((0, WORD, EQ, 1),))], DENY),
    ],
)
def test_strictest_rule_decides(rules: list[Rule], verdict: int) -> None:
    assert decide(rules, DENY) == verdict


def test_rule_with_conditions_decides_before_one_without_that_is_more_lenient() -> None:
    only_zero = ((0, WORD, EQ, 0),)

    assert decide([(ALLOW, ()), (DENY, only_zero)], LOG) == ((DENY, only_zero), (ALLOW, ()))
    assert decide([(ALLOW, only_zero), (DENY, ())], LOG) == DENY


def compile_call(rules: list[Rule], default: int) -> partial[int]:
    """Return what decides about the arguments of one call."""
    ranges: Ranges = [(0, default), (NUMBER, decide(rules, default)), (NUMBER + 1, default)]
    program = read_program(compile_filter([(X86_64, ranges)], KILL_THREAD))
    return partial(run_filter, program, X86_64, NUMBER)


def draw_what_is_compared(
    rules: list[list[Condition]], arguments: list[int], data: st.DataObject
) -> None:
    """Let arguments be those, now and then, that conditions are about."""
    for index in range(6):
        wanted = [value for rule in rules for at, _, _, value in rule if at == index]
        arguments[index] = data.draw(st.sampled_from([arguments[index], *wanted]))


def holds(condition: Condition, arguments: list[int]) -> bool:
    index, mask, how, value = condition
    return bool(COMPARE[how](arguments[index] & mask, value))
