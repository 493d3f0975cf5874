"""The rules of the two packages that no linter knows: who may import what, sizes, test twins.

isolation/ is the mechanism and supervisor/ the policy, so imports go one way. What isolation loads
is paid at each start of a container, so its own imports are few and cheap.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

TOP = Path(__file__).parent.parent
PACKAGES = ("isolation", "supervisor")
MODULES = sorted(path for package in PACKAGES for path in (TOP / package).rglob("*.py"))
LINES = 400

# From the standard library, and yet measured at 8 to 25 ms: as much as the rest of a start.
SLOW_TO_IMPORT = {"asyncio", "dataclasses", "typing"}

# 6 ms together, most of it for `enum` and `collections`, which the others load: `signal` and
# `socket` make enumerations of their constants. Their C halves, `_signal` and `_socket`, and
# `_collections_abc` have all that a start needs. An interpreter may load some of them by itself.
ENUMERATING = {"collections", "enum", "functools", "signal", "socket"}
HEAVY = {"asyncio", "attr", "attrs", "structlog", "trio"}

# The two that have ctypes: what is given Python's values, and what is given numbers.
CALLING = {"isolation/library.py", "isolation/syscalls.py"}

# What Python lacks where it was built for systems as old as CentOS 7; `syscalls` has it.
TOO_YOUNG = ("F_ADD_SEALS", "F_GET_SEALS", "F_SEAL_", "MFD_", "memfd_", "pidfd_", "P_PIDFD")

WALL_CLOCKS = {"time.time", "time.time_ns", "time.localtime", "datetime.now", "datetime.today"}
READ_THE_WALL_CLOCK = {
    "supervisor/changes.py",
    "supervisor/control/logs.py",
    "supervisor/log.py",
    "supervisor/relay.py",
    "supervisor/timetable.py",
}


class Import(NamedTuple):
    """One imported module. A relative one, `from .x import y`, has the name ".x"."""

    name: str
    names: tuple[str, ...]
    at_module_level: bool

    @property
    def root(self) -> str:
        return self.name.split(".")[0]


def read_imports(module: Path) -> Iterator[Import]:
    tree = ast.parse(module.read_text())
    inside_functions = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        at_module_level = node not in inside_functions
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), at_module_level)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            yield Import(name, tuple(alias.name for alias in node.names), at_module_level)


def name_of(module: Path) -> str:
    return str(module.relative_to(TOP))


each_module = pytest.mark.parametrize("module", MODULES, ids=name_of)


def test_isolation_needs_the_standard_library_only() -> None:
    allowed = sys.stdlib_module_names - SLOW_TO_IMPORT

    foreign = [
        f"{name_of(module)} imports {found.name}"
        for module in (TOP / "isolation").rglob("*.py")
        for found in read_imports(module)
        if found.root and found.root not in allowed
    ]

    assert foreign == []


@pytest.mark.parametrize(
    ("entry", "unwanted"),
    [
        ("mocker.isolation", HEAVY | SLOW_TO_IMPORT | ENUMERATING),
        ("mocker.supervisor.cli", HEAVY | ENUMERATING),
        ("mocker.supervisor.run_command", HEAVY | ENUMERATING),
    ],
)
def test_start_is_light(entry: str, unwanted: set[str]) -> None:
    program = f"import sys; old = set(sys.modules); import {entry}; print(*set(sys.modules) - old)"

    # Without site, which loads what a .pth file of the environment names, and counts it as there.
    packages = [path for path in sys.path if path]
    result = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path += {packages!r}; {program}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.stderr, unwanted & set(result.stdout.split())) == ("", set())


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_have_an_order(package: str) -> None:
    modules = {module.stem: module for module in (TOP / package).glob("*.py")}
    graph = {
        stem: {needed for found in read_imports(module) for needed in siblings(found, modules)}
        for stem, module in modules.items()
    }

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"{package}: {' -> '.join(error.args[1])}")


def siblings(found: Import, modules: dict[str, Path]) -> set[str]:
    """Return the modules of its own package that a module-level import loads first."""
    if not found.at_module_level or not found.name.startswith("."):
        return set()
    if found.name != ".":
        return {found.name.removeprefix(".").split(".")[0]}
    return {name if name in modules else "__init__" for name in found.names}


@each_module
def test_imports_inside_a_package_are_relative(module: Path) -> None:
    package = module.relative_to(TOP).parts[0]
    own_names = (f"mocker.{package}", package)

    absolute = [
        found.name
        for found in read_imports(module)
        if found.name in own_names or found.name.startswith(tuple(f"{own}." for own in own_names))
    ]

    assert absolute == []


@each_module
def test_relative_imports_stay_inside_the_package(module: Path) -> None:
    depth = len(module.relative_to(TOP).parts) - 1

    escaping = [
        found.name for found in read_imports(module) if found.name.startswith("." * (depth + 1))
    ]

    assert escaping == []


@each_module
def test_what_is_no_python_is_called_by_two_modules(module: Path) -> None:
    roots = {found.root for found in read_imports(module)}

    assert "ctypes" not in roots or name_of(module) in CALLING


@each_module
def test_python_is_asked_for_nothing_that_some_were_built_without(module: Path) -> None:
    asked = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in {"fcntl", "os", "signal"}
        and node.attr.startswith(TOO_YOUNG)
    ]

    assert asked == []


@each_module
def test_clock_on_the_wall_is_looked_at_for_schedules_and_timestamps_alone(module: Path) -> None:
    # It may be set while a job waits for its restart, and that must neither hold up nor hurry it.
    calls = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call)
    }

    assert not calls & WALL_CLOCKS or name_of(module) in READ_THE_WALL_CLOCK


@each_module
def test_module_is_not_too_long(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= LINES


@each_module
def test_module_has_a_test_of_its_own(module: Path) -> None:
    if module.stem == "__init__":
        return
    relative = module.relative_to(TOP)

    assert (TOP / "tests" / relative.with_name(f"test_{relative.name}")).exists()


def test_checkout_has_no_link_at_its_top() -> None:
    # As a program leaves them that makes the links of a container in the wrong directory.
    assert [path.name for path in TOP.iterdir() if path.is_symlink()] == []
