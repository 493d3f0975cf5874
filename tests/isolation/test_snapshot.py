import gc
import mmap
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from errno import ENOMEM, EPERM
from pathlib import Path

import pytest

from mocker.isolation import memory, snapshot
from mocker.isolation.library import find_thread
from mocker.isolation.machine import find_machine
from mocker.isolation.memory import Buffer, walk
from mocker.isolation.snapshot import LAST, lay_out_move
from mocker.isolation.tape import go_on
from tests.in_namespaces import run_in_child
from tests.leaks import read_descriptors
from tests.requirements import requires_busybox, requires_user_namespaces

requires_machine_code = pytest.mark.skipif(
    find_machine() != "x86_64", reason="only there is code that is no Python's"
)

ROOM = 2**17  # for many more mappings than a small program has
MADV_WIPEONFORK = 18


def lay_out(room: int = ROOM) -> tuple[list[int], int]:
    """Return the records, and a descriptor of the file; the tests are no small program."""
    snapshot._MOST = 2**40
    records = lay_out_move(Buffer(room, shared=True))
    go_on(records[-1], 0)
    return records, os.dup(find_file())


def move() -> int:
    """Move what this process has written to a file, and return a descriptor of that."""
    while True:
        records, file = lay_out()
        try:
            walk(records[0])
        except OSError as error:
            if error.errno != ENOMEM:  # this is said where Python has given something back since
                raise
            walk(records[-LAST])
            os.close(file)
        else:
            return file


def find_file() -> int:
    """Return the descriptor of the file in memory; there is no other one."""
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # by which the directory is read
            if "memfd:memory" in str(link.readlink()):
                return int(link.name)
    raise AssertionError("there is none")


def read_anonymous() -> int:
    """Return the bytes that are this process's own, and in no file."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def fork_for(function: Callable[[], bytes]) -> bytes:
    """Return what a function returns in a fork."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_end, function())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        content = pipe.read()
    os.waitpid(pid, 0)
    return content


@requires_machine_code
def test_process_goes_on_with_what_it_had() -> None:
    def act() -> tuple[object, ...]:
        numbers = [str(n) for n in range(100_000)]
        before = read_anonymous()
        move()
        after = read_anonymous()
        gc.collect()  # touches every object
        numbers.append("more")
        in_fork = fork_for(lambda: str(hash(tuple(numbers))).encode())
        return len(set(numbers)), after < before / 4, int(in_fork) == hash(tuple(numbers))

    assert run_in_child(act) == (100_001, True, True)


@requires_machine_code
def test_nobody_can_change_it() -> None:
    def act() -> list[int | None]:
        file = move()
        errors = list[int | None]()
        changes: list[Callable[[], object]] = [
            lambda: os.pwrite(file, b"x", 0),
            lambda: os.ftruncate(file, 0),
            lambda: mmap.mmap(file, 4096),
        ]
        for change in changes:
            try:
                change()
            except OSError as error:
                errors.append(error.errno)
        return errors

    assert run_in_child(act) == [EPERM] * 3


@requires_machine_code
def test_what_forks_are_not_to_have_stays_so() -> None:
    def act() -> bytes:
        secret = mmap.mmap(-1, 2**16, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        secret.madvise(MADV_WIPEONFORK)
        secret.write(b"secret" * 10_000)
        move()
        return secret[:6] + fork_for(lambda: secret[:6])

    assert run_in_child(act) == b"secret" + bytes(6)


@requires_machine_code
@requires_busybox
@requires_user_namespaces
def test_init_has_no_page_tables_of_what_it_has_not_looked_at() -> None:
    assert read_resident_memory("") < 2000  # KB: it is 6,000 where it has all that Python wrote


@requires_busybox
@requires_user_namespaces
def test_python_that_was_built_for_old_systems_will_do() -> None:
    assert read_resident_memory("import os; del os.memfd_create, os.MFD_CLOEXEC") > 0


@requires_machine_code
@requires_busybox
@requires_user_namespaces
def test_big_program_is_not_copied() -> None:
    # Before, and after, all of it is the init's as well.
    assert read_resident_memory("big = bytearray(b'x') * 2**27") > 2**17


def read_resident_memory(first: str) -> int:
    """Return the KB of an init whose fork server a program starts after something else."""
    script = f"""
{first}
import mocker.isolation
with mocker.isolation.ForkServer() as server:
    with server.spawn(mocker.isolation.ContainerSpec(["sleep", "1000"])) as container:
        print(open(f"/proc/{{container.pid}}/status").read())
        container.kill()
        container.wait()
"""
    status = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


@requires_machine_code
def test_memory_that_is_reserved_and_not_used_takes_no_room() -> None:
    def act() -> bool:
        reserved = mmap.mmap(-1, 2**30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        reserved.write(b"x")
        return os.fstat(move()).st_size < 2**29

    assert run_in_child(act)


@requires_machine_code
def test_where_the_file_may_not_be_so_long_nothing_is_moved_and_nothing_left_open() -> None:
    def act() -> bool:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
        before = read_descriptors()
        with pytest.raises(OSError, match="File too large"):
            lay_out()
        return read_descriptors() == before

    assert run_in_child(act)


@requires_machine_code
def test_what_was_given_back_meanwhile_ends_it_and_nothing_is_lost() -> None:
    def act() -> tuple[int, bool, bool]:
        numbers = [str(n) for n in range(100_000)]
        given_back = mmap.mmap(-1, 2**26, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        given_back.write(b"x" * 2**26)  # the biggest, and the first to be moved
        snapshot._MOST = 2**40
        records = lay_out_move(Buffer(ROOM, shared=True))
        go_on(records[-1], 0)
        given_back.close()
        with pytest.raises(OSError, match="Cannot allocate memory"):  # as msync(2) says it
            walk(records[0])
        walk(records[-LAST])
        maps = Path("/proc/self/maps").read_text()
        return len(set(numbers)), "rw-s" in maps, "memfd:memory" in str(read_descriptors())

    assert run_in_child(act) == (100_000, False, False)


@requires_machine_code
def test_stack_of_the_thread_stays_where_it_is() -> None:
    def act() -> tuple[bool, bool]:
        move()
        thread = find_thread()
        maps = Path("/proc/self/maps").read_text().splitlines()
        moved = [line.split()[0] for line in maps if "memfd:memory" in line]
        ranges = [[int(end, 16) for end in each.split("-")] for each in moved]
        return bool(ranges), any(begin <= thread < end for begin, end in ranges)

    def act_in_a_thread() -> list[tuple[bool, bool]]:
        """Do it in a fork that a thread has made, whose stack is memory like any other."""
        found = list[tuple[bool, bool]]()
        threading.stack_size(2**18)
        thread = threading.Thread(target=lambda: found.append(run_in_child(act)))
        thread.start()
        thread.join()
        return found

    assert run_in_child(act_in_a_thread) == [(True, False)]


@requires_machine_code
def test_without_room_for_all_of_it_the_biggest_part_is_moved() -> None:
    def act() -> bool:
        content = bytearray(b"x" * 2**25)  # a mapping of its own
        before = read_anonymous()
        (first, *_), _ = lay_out(room=800)
        walk(first)
        return read_anonymous() < before - 2**25 // 2 and content.count(b"x") == 2**25

    assert run_in_child(act)


def test_where_python_makes_each_call_nothing_is_moved() -> None:
    def act() -> list[int]:
        memory._walker = None  # as where there is no machine code
        return lay_out_move(Buffer(ROOM, shared=True))

    assert run_in_child(act) == []
