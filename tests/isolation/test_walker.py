import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from errno import EACCES, EAGAIN, EBADF, EEXIST, ENOENT
from pathlib import Path

import pytest

from mocker.isolation import memory
from mocker.isolation.calls import check_message, close, getpid, link, prepare, then, write
from mocker.isolation.machine import find_machine
from mocker.isolation.memory import FAILED, Buffer, Cell, add_function, walk
from mocker.isolation.tape import Call, go_on, lay_out_beside, perform
from tests.in_namespaces import capture_child, run_in_child
from tests.refusals import Refusal, refuse_system_calls
from tests.requirements import requires_busybox, requires_user_namespaces

Run = Callable[[Callable[[], object]], object]
PROT_EXEC = 4


@pytest.fixture(params=["machine code", "Python"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a function in a child, whose calls one after the other are made by either."""

    def run(function: Callable[[], object]) -> object:
        def act() -> object:
            if request.param == "Python":
                memory._walker = None
            return function()

        return run_in_child(act)

    return run


def test_there_is_machine_code_where_it_is_written_for() -> None:
    assert (memory._walker is not None) == (find_machine() == "x86_64")


def test_each_argument_may_be_a_number_or_a_cell(run: Run, tmp_path: Path) -> None:
    (tmp_path / "from").write_bytes(b"0123456789")

    def copy(places: int) -> bytes:
        """Copy some bytes, with what a bit mask says in cells."""
        source = os.open(tmp_path / "from", os.O_RDONLY)
        target = os.open(tmp_path / f"to-{places}", os.O_RDWR | os.O_CREAT)
        skipped, start = Buffer(8, b"\3", shared=True), Buffer(8, b"\1", shared=True)
        given = source, skipped.address, target, start.address, 5, 0
        arguments = tuple(Cell(g) if places >> i & 1 else g for i, g in enumerate(given))
        perform([(add_function("copy_file_range"), arguments, 0, 0, None)])
        return os.pread(target, 100, 0)

    assert run(lambda: [copy(mask) for mask in (0, 63, 21, 42)]) == [b"\x0034567"] * 4


def test_results_are_kept_and_passed_on(run: Run) -> None:
    def act() -> bool:
        own, end = Cell(-1), Cell(-1)
        ours, theirs = os.pipe()
        perform([getpid(to=own), prepare("fcntl", theirs, fcntl.F_DUPFD, 100, to=end)])
        perform([write(end, b"text")])
        return (own.value, end.value, os.read(ours, 10)) == (os.getpid(), 100, b"text")

    assert run(act)


@pytest.mark.parametrize("tolerated", [(EBADF,), (1, 3, 4, 5, 6, 7, 8, EBADF)])
def test_error_that_is_tolerated_is_a_result(run: Run, tolerated: tuple[int, ...]) -> None:
    def act() -> int:
        result = Cell(7)
        perform([prepare("close", 999, tolerated=tolerated, to=result), getpid(to=Cell(-1))])
        return result.value

    assert run(act) == -1


def test_any_other_error_ends_it(run: Run, tmp_path: Path) -> None:
    def act() -> tuple[int, bool]:
        made = os.fsencode(tmp_path / "made")
        try:
            perform(
                [prepare("close", 999, tolerated=(ENOENT,)), prepare("mkdirat", -100, made, 0o755)]
            )
        except OSError as error:
            return error.errno or 0, (tmp_path / "made").exists()
        return 0, False

    assert run(act) == (EBADF, False)


def test_place_of_what_has_failed_is_known(run: Run) -> None:
    def act() -> bool:
        _, second = lay_out_beside(Buffer(1000, shared=True), [getpid(to=Cell(-1)), close(999)])
        try:
            walk(second)
        except OSError:
            return FAILED.value == second
        return False

    assert run(act)


@pytest.mark.parametrize(("text", "is_same"), [(b"ab", True), (b"aa", False), (b"az", False)])
def test_what_is_less_than_it_should_be_ends_it(run: Run, text: bytes, is_same: bool) -> None:
    def act() -> bool:
        try:
            perform(check_message(Buffer(2, text), b"ab"))
        except OSError:
            return False
        return True

    assert run(act) == is_same


def test_write_that_is_cut_short_says_why(run: Run) -> None:
    def act() -> int:
        _, end = os.pipe2(os.O_NONBLOCK)
        size = fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
        try:
            perform([write(Cell(end), bytes(2 * size))])
        except OSError as error:
            return error.errno or 0
        return 0

    assert run(act) == EAGAIN


def test_functions_of_python_come_in_between(run: Run) -> None:
    def act() -> list[int]:
        made: list[int] = []
        own = Cell(0)
        perform([then(made.append, 1), getpid(to=own), then(made.append, 2)])
        return [*made, own.value - os.getpid()]

    assert run(act) == [1, 2, 0]


@pytest.mark.parametrize("number", [0, 1])
def test_after_a_zero_there_may_be_another_way(run: Run, number: int) -> None:
    def act() -> list[int]:
        made: list[int] = []
        memory.in_use.actions = [memory.Action(made.append, (n,)) for n in (10, 20)]
        calls: list[Call] = [
            prepare("memcmp", bytes([number]), bytes(1), 1, to=None),
            (memory.CALL_PYTHON, (0,), 0, 0, None),
            (memory.CALL_PYTHON, (1,), 0, 0, None),
        ]
        way = Cell(0, shared=True)
        first, plain, other = lay_out_beside(Buffer(1000, shared=True), calls)
        way.value = other
        go_on(first, plain, way.place)
        go_on(plain, 0)
        walk(first)
        return made

    assert run(act) == [20 if number == 0 else 10]


def test_file_gets_many_names_at_once(run: Run, tmp_path: Path) -> None:
    def act() -> int:
        os.chdir(tmp_path)
        Path("first").touch()
        perform([link("first", []), link("first", ["a", "b", "c"])])
        try:
            perform([link("first", ["d", "a", "e"])])
        except OSError as error:
            return error.errno or 0
        return 0

    assert run(act) == EEXIST
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "d", "first"]


PROGRAM = """
from mocker.isolation import ContainerSpec, ForkServer, memory, run
print(memory._walker)
print(run(ContainerSpec(["sh", "-c", "exit 3"])))
with ForkServer() as server, server.spawn(ContainerSpec(["sh", "-c", "exit 4"])) as container:
    print(container.wait())
"""


@requires_busybox
@requires_user_namespaces
def test_containers_are_made_where_what_was_written_cannot_be_executed() -> None:
    def act() -> None:
        refuse_system_calls([Refusal("mprotect", EACCES, flags=PROT_EXEC, argument=2)])
        subprocess.run([sys.executable, "-c", PROGRAM], check=True)

    output = capture_child(act)

    assert output == ("None\nexit code 3\nexit code 4\n", 0)
