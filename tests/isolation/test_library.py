import os
import subprocess
import sys
from errno import EACCES
from pathlib import Path

import pytest

from mocker.isolation.library import find_address, load_code, trim_heap
from mocker.isolation.machine import find_machine
from tests.benchmarks.process_use import read_resident_memory
from tests.in_namespaces import run_in_child
from tests.refusals import Refusal, refuse_system_calls

# Of a function that returns its second argument.
SECOND = {"x86_64": "4889f0c3", "aarch64": "e00301aac0035fd6"}
PROT_EXEC = 4
MAPS = Path("/proc/self/maps")


def test_machine_code_is_a_function() -> None:
    second = load_code(bytes.fromhex(SECOND[find_machine()]), 2)

    assert second is not None
    assert second(1, -(2**40)) == -(2**40)


def test_machine_code_cannot_be_changed() -> None:
    code = bytes.fromhex(SECOND[find_machine()])

    load_code(code, 2)

    assert not any(line.split()[1][1:3] == "wx" for line in MAPS.read_text().splitlines())


def test_machine_code_is_none_where_it_cannot_be_executed() -> None:
    def act() -> bool:
        refuse_system_calls([Refusal("mprotect", EACCES, flags=PROT_EXEC, argument=2)])
        before = MAPS.read_text()
        found = load_code(bytes(4), 2)
        return found is None and len(MAPS.read_text()) == len(before)

    assert run_in_child(act)


def test_functions_of_the_c_library_have_addresses() -> None:
    addresses = {find_address(name) for name in ("getpid", "mount", "execve")}

    assert len(addresses) == 3
    assert all(address > 0 for address in addresses)


def test_function_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(AttributeError, match="no_such_function"):
        find_address("no_such_function")


# In a program of its own: the C library settles how many there are once it has some.
COUNT_ARENAS = """
import ctypes, os, sys, threading
from mocker.isolation.library import use_one_arena
if sys.argv[1] == "one":
    use_one_arena()
together = threading.Barrier(20)

def take_memory():
    blocks = [bytes(20_000) for _ in range(10)]
    together.wait()

threads = [threading.Thread(target=take_memory) for _ in range(together.parties)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
read_end, write_end = os.pipe()
stream = ctypes.c_void_p(libc.fdopen(write_end, b"w"))
libc.malloc_info(0, stream)
libc.fclose(stream)
print(os.fdopen(read_end).read().count("<heap nr="))
"""


def test_threads_have_no_arenas_of_their_own_if_there_is_to_be_one() -> None:
    def count(which: str) -> int:
        argv = [sys.executable, "-c", COUNT_ARENAS, which]
        return int(subprocess.run(argv, capture_output=True, check=True).stdout)

    assert count("one") == 1
    assert count("many") > 1


def test_memory_between_things_that_are_used_can_be_given_back() -> None:
    def act() -> int:
        # Of a size that the C library takes from its heap; every tenth stays, and the last.
        blocks = [b"x" * (20_000 + number) for number in range(1001)]
        kept = blocks[::10]
        del blocks
        before = read_resident_memory(os.getpid())
        trim_heap()
        return before - read_resident_memory(os.getpid()) if kept else 0

    assert run_in_child(act) > 10_000_000
