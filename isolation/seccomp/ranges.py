"""Which tables of system calls a machine's kernel runs, and rules by name as ranges of numbers."""

from _collections_abc import Mapping, Sequence

from ..errors import SetupError
from ..machine import find_machine
from .bpf import DENY, KILL_THREAD, Ranges, Verdict, compile_filter
from .tables import NEWEST, read_table

# The tables of each machine's kernel, the machine's own first, and their AUDIT_ARCH_ values.
_X86_64, _I386 = ("x86_64", 0xC000_003E), ("i386", 0x4000_0003)
_AARCH64, _ARM = ("aarch64", 0xC000_00B7), ("arm", 0x4000_0028)
MACHINES = {
    "x86_64": (_X86_64, _I386),
    "i386": (_I386,),
    "i586": (_I386,),
    "i686": (_I386,),
    "aarch64": (_AARCH64, _ARM),
    "armv7l": (_ARM,),
    "armv8l": (_ARM,),
}
_X32 = 2**30  # from this number on: x86-64's calls once more, for programs with short pointers


class Policy:
    """What becomes of the system calls of one table.

    Attributes:
        verdicts: By name.
        otherwise: For any other that the table has.
        unnamed: The action for a number that no call has.
        beyond: The action for a number that no call has yet, and for a call that came later.
        newest: The number of the last call that did not.
    """

    __slots__ = ("beyond", "newest", "otherwise", "unnamed", "verdicts")

    def __init__(
        self,
        verdicts: Mapping[str, Verdict],
        otherwise: Verdict,
        unnamed: int,
        beyond: int,
        newest: int = NEWEST,
    ) -> None:
        self.verdicts, self.otherwise = verdicts, otherwise
        self.unnamed, self.beyond, self.newest = unnamed, beyond, newest


def find_tables(machine: str = "") -> Sequence[tuple[str, int]]:
    """Return the names and AUDIT_ARCH_ values of the tables that a machine's kernel runs.

    Raises:
        SetupError: They are not known.
    """
    machine = machine or find_machine()
    if machine not in MACHINES:
        raise SetupError(
            f"filter system calls on {machine}",
            hint="their numbers are not known; --seccomp unconfined does without a filter",
        )
    return MACHINES[machine]


def compile_policies(policies: Mapping[str, Policy], tables: Sequence[tuple[str, int]]) -> bytes:
    """Return the program of BPF for tables; what is of no table that has a policy, kills.

    Raises:
        ValueError: It is longer than the kernel takes.
    """
    laid_out = [
        (number, lay_out(table, policies[table])) for table, number in tables if table in policies
    ]
    return compile_filter(laid_out, KILL_THREAD)


def lay_out(table: str, policy: Policy) -> Ranges:
    """Return what becomes of every number, whether the table has it or not."""
    ranges, following, last = list[tuple[int, Verdict]](), 0, -1
    verdicts, otherwise, newest = policy.verdicts, policy.otherwise, policy.newest
    for name, number in read_table(table).items():
        if number == last:  # another name for it
            if name in verdicts:
                ranges[-1] = number, verdicts[name]
            continue
        if number > following:
            ranges.append((following, policy.unnamed if following <= newest else policy.beyond))
        is_later = newest < number <= NEWEST
        ranges.append((number, verdicts.get(name, policy.beyond if is_later else otherwise)))
        last, following = number, number + 1
    ranges.append((following, policy.beyond))
    if table == "x86_64":
        # Nothing is built for it, and its calls have been forgotten in filters more than once.
        ranges.append((_X32, DENY))
    return ranges
