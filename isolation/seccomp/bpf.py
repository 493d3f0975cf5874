"""Rules about system calls as a program of classic BPF, which the kernel runs before each call.

The program looks at the table that the call belongs to (a kernel for x86-64 runs i386's as well),
then at the number, by a binary search over the ranges of numbers that are treated alike, and where
a rule wants it at the arguments. Those have 64 bits and the program's words 32, so they are
compared in two halves.

When it is loaded, the kernel checks and translates each instruction, and runs the program for each
number of each table, to know which calls are let through whatever their arguments: those do not run
it any more. Of the time that takes, the second is more than half. So the search is for as few steps
as there can be for a number, be it in a large range or in a small one, and a number that is alone
among others is compared for itself, which is one instruction instead of two.

It is written from its end to its beginning: BPF only jumps forward, so the places of whatever an
instruction jumps to are known when it is written, and a jump's distance can be seen to fit.

Source: seccomp(2), linux/filter.h, linux/bpf_common.h; kernel/seccomp.c, seccomp_cache_prepare.
"""

from _collections_abc import Sequence
from errno import EPERM
from struct import pack

KILL_PROCESS = 0x8000_0000
KILL_THREAD = 0x0000_0000
TRAP = 0x0003_0000
ERRNO = 0x0005_0000
TRACE = 0x7FF0_0000
LOG = 0x7FFC_0000
ALLOW = 0x7FFF_0000
DENY = ERRNO | EPERM
KIND = 0xFFFF_0000  # which bits say what is done; the others are a number that goes with it

# What an argument is compared by: equal to, other than, less than, …
EQ, NE, LT, LE, GE, GT = range(6)
WORD = 2**64 - 1  # the mask of a whole argument

MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_LOAD, _AND = 0x20, 0x54  # BPF_LD | BPF_W | BPF_ABS, BPF_ALU | BPF_AND | BPF_K
_JUMP, _JEQ, _JGT, _JGE = 0x05, 0x15, 0x25, 0x35  # BPF_JMP with BPF_JA, BPF_JEQ, …
_RETURN = 0x06
_FAR = 250  # instructions; a conditional jump's distance is a byte, and two may be written between
_NUMBER, _TABLE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_HALF = 2**32 - 1
_DENSE = 470  # up to here are the numbers of all calls, but for a few
_MOST_ALONE = 4  # numbers of a stretch that are compared one after the other

# The index of an argument, a mask, what the rest is compared by, and with what.
Condition = tuple[int, int, int, int]
# What is done with the call if all of the conditions hold.
Rule = tuple[int, tuple[Condition, ...]]
# An action, or rules of which the first that holds decides; the last one has no conditions.
Verdict = int | tuple[Rule, ...]
# The first number of each range that is treated alike, and how; from number 0 on.
Ranges = list[tuple[int, Verdict]]
# The same, with what is treated in another way inside: single numbers, and how.
_Stretch = tuple[int, Verdict, Ranges]


def decide(rules: Sequence[Rule], otherwise: int) -> Verdict:
    """Return what becomes of a call that rules are about, in whatever order they were written.

    Where several hold, the strictest decides, as the kernel does it with several filters.

    Args:
        rules: Any number.
        otherwise: The action where none holds.
    """
    decisive = list[Rule]()
    for rule in sorted(rules, key=lambda rule: rank(rule[0])):
        decisive.append(rule)
        if not rule[1]:
            break
    else:
        decisive.append((otherwise, ()))
    while len(decisive) > 1 and decisive[-2][0] == decisive[-1][0]:
        del decisive[-2]
    return decisive[0][0] if len(decisive) == 1 else tuple(decisive)


def rank(action: int) -> int:
    """Return a number that is the less, the stricter an action is."""
    return (action & KIND) ^ KILL_PROCESS


def compile_filter(tables: Sequence[tuple[int, Ranges]], foreign: int) -> bytes:
    """Return the program, as the kernel takes it: struct sock_filter, eight bytes each.

    Args:
        tables: The AUDIT_ARCH_ value of each table of system calls, and what becomes of its calls.
        foreign: The action for a call of any other table.

    Raises:
        ValueError: It is longer than the kernel takes.
    """
    writer = _Writer()
    starts = list[tuple[int, int]]()
    for table, ranges in tables:
        starts.append((table, writer.load(_NUMBER, writer.search(ranges))))
    start = writer.act(foreign)
    for table, label in reversed(starts):
        start = writer.jump(_JEQ, table, label, start)
    writer.load(_TABLE, start)
    if len(writer.code) > MOST_INSTRUCTIONS:
        raise ValueError(
            f"makes {len(writer.code)} instructions, and the kernel takes {MOST_INSTRUCTIONS}"
        )
    return b"".join(pack("HBBI", *instruction) for instruction in reversed(writer.code))


def _merge(ranges: Ranges) -> Ranges:
    merged = list[tuple[int, Verdict]]()
    for start, verdict in ranges:
        if not merged or merged[-1][1] != verdict:
            merged.append((start, verdict))
    return merged


def _find_stretches(ranges: Ranges) -> list[_Stretch]:
    stretches, index = list[_Stretch](), 0
    while index < len(ranges):
        start, verdict = ranges[index]
        alone = Ranges()
        while len(alone) < _MOST_ALONE and index + 2 < len(ranges):
            inner, following = ranges[index + 1 : index + 3]
            if following != (inner[0] + 1, verdict):
                break
            alone.append(inner)
            index += 2
        stretches.append((start, verdict, alone))
        index += 1
    return stretches


class _Writer:
    """Instructions, the last one first. A label is the place of one there.

    Attributes:
        code: Each one's operation, distances if true and if false, and operand.
    """

    __slots__ = ("_actions", "_decisions", "code")

    def __init__(self) -> None:
        self.code = list[tuple[int, int, int, int]]()
        self._actions = dict[int, int]()
        self._decisions = dict[tuple[Rule, ...], int]()

    def act(self, action: int) -> int:
        """End with an action; one that is near serves again."""
        label = self._actions.get(action, -_FAR)
        if len(self.code) - label >= _FAR:
            label = self._actions[action] = self._write(_RETURN, action)
        return label

    def load(self, offset: int, following: int) -> int:
        """Load a word of what is known about the call, and go on at a label."""
        self._lead_to(following)
        return self._write(_LOAD, offset)

    def jump(self, operation: int, operand: int, yes: int, no: int) -> int:
        """Compare the loaded word, and go on at one of two labels."""
        yes = self._bring_near(yes)
        no = self._bring_near(no)
        here = len(self.code) - 1
        return self._write(operation, operand, here - yes, here - no)

    def search(self, ranges: Ranges) -> int:
        """Find the loaded number in ranges, and do what they say."""
        stretches = _find_stretches(_merge(ranges))
        # One more for each, so that none is empty.
        places = [min(start, _DENSE) + index for index, (start, *_) in enumerate(stretches)]
        return self._halve(stretches, [*places, _DENSE + len(stretches)], 0, len(stretches))

    def _halve(self, stretches: list[_Stretch], places: list[int], first: int, end: int) -> int:
        """Find the loaded number among some of the stretches, with as many numbers on each side."""
        if end - first == 1:
            return self._search_stretch(*stretches[first])
        half, middle = (places[first] + places[end]) // 2, (first + end) // 2
        while middle > first + 1 and places[middle] > half:
            middle -= 1
        while middle < end - 1 and places[middle] < half:
            middle += 1
        above = self._halve(stretches, places, middle, end)
        below = self._halve(stretches, places, first, middle)
        return self.jump(_JGE, stretches[middle][0], above, below)

    def _search_stretch(self, _: int, verdict: Verdict, alone: Ranges) -> int:
        label = self._decide(verdict)
        for number, other in reversed(alone):
            label = self.jump(_JEQ, number, self._decide(other), label)
        return label

    def _decide(self, verdict: Verdict) -> int:
        if isinstance(verdict, int):
            return self.act(verdict)
        if verdict not in self._decisions:
            label = self.act(verdict[-1][0])
            for action, conditions in reversed(verdict[:-1]):
                holds, fails = self.act(action), label
                for condition in reversed(conditions):
                    holds = self._compare(condition, holds, fails)
                label = holds
            self._decisions[verdict] = label
        return self._decisions[verdict]

    def _compare(self, condition: Condition, yes: int, no: int) -> int:
        index, mask, how, value = condition
        if how in {NE, LT, LE}:
            return self._compare((index, mask, {NE: EQ, LT: GE, LE: GT}[how], value), no, yes)
        offset = _ARGUMENTS + 8 * index  # of the lower half: only little-endian machines are known
        high, low = value >> 32, value & _HALF
        if how == EQ:
            yes = self._compare_half(offset, mask & _HALF, low, yes, no)
            return self._compare_half(offset + 4, mask >> 32, high, yes, no)
        ends = self.jump(_JGT if how == GT else _JGE, low, yes, no)
        ends = self._mask_and_load(offset, mask & _HALF, ends)
        ends = self.jump(_JGT, high, yes, self.jump(_JEQ, high, ends, no))
        return self._mask_and_load(offset + 4, mask >> 32, ends)

    def _compare_half(self, offset: int, mask: int, value: int, yes: int, no: int) -> int:
        if not mask:
            return no if value else yes
        return self._mask_and_load(offset, mask, self.jump(_JEQ, value, yes, no))

    def _mask_and_load(self, offset: int, mask: int, following: int) -> int:
        if mask != _HALF:
            self._lead_to(following)
            following = self._write(_AND, mask)
        return self.load(offset, following)

    def _lead_to(self, label: int) -> None:
        """Let the next instruction that is written be followed by a label."""
        if label != len(self.code) - 1:
            self._write(_JUMP, len(self.code) - 1 - label)

    def _bring_near(self, label: int) -> int:
        """Return a label with the same effect that a conditional jump reaches."""
        if len(self.code) - label < _FAR:
            return label
        operation, _, _, operand = self.code[label]
        if operation == _RETURN:
            return self.act(operand)
        return self._write(_JUMP, len(self.code) - 1 - label)

    def _write(self, operation: int, operand: int, yes: int = 0, no: int = 0) -> int:
        self.code.append((operation, yes, no, operand))
        return len(self.code) - 1
