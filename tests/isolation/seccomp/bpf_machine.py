"""A machine for classic BPF, as far as filters of system calls use it."""

import operator
from collections.abc import Sequence
from struct import Struct, pack

_INSTRUCTION = Struct("HBBI")
_LOAD, _RETURN, _JUMP, _AND = 0x20, 0x06, 0x05, 0x54
_COMPARE = {0x15: operator.eq, 0x25: operator.gt, 0x35: operator.ge}
_DATA_SIZE = 64  # bytes of struct seccomp_data

Instruction = tuple[int, int, int, int]


def read_program(program: bytes) -> list[Instruction]:
    """Return the instructions of a program: operation, distances if true and if false, operand."""
    return list(_INSTRUCTION.iter_unpack(program))


def run_filter(
    instructions: Sequence[Instruction], table: int, number: int, arguments: Sequence[int] = ()
) -> int:
    """Return what a filter says about a system call: a SECCOMP_RET_ value.

    Args:
        instructions: Of `read_program`.
        table: An AUDIT_ARCH_ value.
        number: Of the call.
        arguments: The first of its six; the others are zero.
    """
    filled = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = pack("=IIQ6Q", number, table, 0, *filled)
    place = word = 0
    while True:
        operation, yes, no, operand = instructions[place]
        place += 1
        if operation == _LOAD:
            assert operand % 4 == 0
            assert operand < _DATA_SIZE
            word = int.from_bytes(data[operand : operand + 4], "little")
        elif operation == _AND:
            word &= operand
        elif operation == _JUMP:
            place += operand
        elif operation == _RETURN:
            return operand
        else:
            place += yes if _COMPARE[operation](word, operand) else no
