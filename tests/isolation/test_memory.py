import ctypes
import os
import sys

import pytest

from mocker.isolation import calls, process_calls
from mocker.isolation.memory import TAPE, WORD, Buffer, Cell, address_of, read_memory, walk
from mocker.isolation.tape import perform
from tests.in_namespaces import run_in_child


def test_walk_from_nowhere_does_nothing() -> None:
    walk(0)


def test_failure_without_a_reason_is_never_tolerated() -> None:
    ctypes.set_errno(0)

    with pytest.raises(OSError, match="Success"):
        perform(calls.check_message(Buffer(2, b"xx"), b"go"))


def test_memory_has_one_address_in_every_fork() -> None:
    assert run_in_child(lambda: address_of(TAPE)) == address_of(TAPE)
    assert address_of(TAPE + 1) - address_of(TAPE) == WORD


def test_shared_buffer_has_what_a_call_wrote() -> None:
    buffer = Buffer(16, shared=True)
    ours, theirs = os.pipe()
    os.write(theirs, b"0123456789abcdef")

    perform([calls.read(Cell(ours), buffer)])

    os.close(ours)
    os.close(theirs)
    assert buffer.raw == b"0123456789abcdef"
    assert read_memory(buffer.address, 4) == b"0123"


def test_shared_buffer_takes_what_is_written_to_it() -> None:
    buffer, other = Buffer(3, b"abc", shared=True), Buffer(8, b"x", shared=True)

    other.raw = b"12345678"
    buffer.raw = b"xyz"

    assert (buffer.raw, other.raw) == (b"xyz", b"12345678")


def test_number_is_written_into_a_structure() -> None:
    structure, number = Buffer(12, b"12345678"), Cell(-2)

    perform([calls.store_int(structure, 4, number)])

    assert structure.raw == b"1234" + (-2).to_bytes(4, sys.byteorder, signed=True) + bytes(4)


def test_shared_cell_is_what_a_fork_left_it_as_only_in_the_fork() -> None:
    cell = Cell(5, shared=True)

    def act() -> int:
        cell.value = 6
        return cell.value

    assert run_in_child(act) == 6
    assert cell.value == 5


def test_functions_take_numbers_that_a_pointer_fits_into() -> None:
    text = ctypes.create_string_buffer(b"text")
    start = ctypes.addressof(text)

    perform(process_calls.overwrite_memory(start, start + 4, b"over"))

    assert text.raw == b"over\0"
