"""What `mocker run` does without, where there is no terminal: loading it would cost the most."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.containers import in_container, make_rootfs
from tests.requirements import requires_root, requires_subordinate_ids

COMMAND = Path(sys.executable).with_name("mocker")

# Measured at 8 to 170 ms each; a whole container takes 10.
HEAVY = [
    "argparse",
    "asyncio",
    "attr",
    "attrs",
    "dataclasses",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "structlog",
    "subprocess",
    "threading",
    "trio",
    "typing",
]

# What runs between clone and exec, and what the parent needs.
NEEDED = ["mocker.isolation.init", "mocker.isolation.launch", "mocker.supervisor.foreground"]


def imports_of(*words: str) -> set[str]:
    """Return the modules that mocker and its init load on the way to a command's end."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", COMMAND, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
    )
    lines = (line for line in result.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines}


def find_heavy(modules: set[str]) -> set[str]:
    return {module for module in modules if {module, module.partition(".")[0]} & set(HEAVY)}


@pytest.fixture(scope="module")
def imported() -> set[str]:
    return imports_of("run", "true")


@in_container
def test_what_is_needed_is_imported(imported: set[str]) -> None:
    assert set(NEEDED) <= imported


@in_container
@pytest.mark.parametrize("name", HEAVY)
def test_run_does_not_import(imported: set[str], name: str) -> None:
    assert not {module for module in imported if module == name or module.startswith(f"{name}.")}


@in_container
def test_options_cost_no_import(imported: set[str], tmp_path: Path) -> None:
    options = [
        "-v",
        f"{tmp_path}:/data:ro",
        "--tmpfs",
        "/scratch:size=1m",
        "-e",
        "A=1",
        "-w",
        "/srv",
    ]
    limits = ["--ulimit", "core=0", "--timeout", "1m", "--read-only", "--name", "web", "-i"]

    rights = ["--cap-drop", "all", "--cap-add", "kill", "--umask", "077", "--allow-new-privs"]

    assert imports_of("run", *options, *limits, *rights, "true") <= imported


@in_container
@pytest.mark.parametrize(
    "options",
    [
        ["--rootfs", "host"],
        ["--network", "host"],
        pytest.param(["-u", "nobody"], marks=requires_subordinate_ids),
        pytest.param(["--userns", "host"], marks=requires_root),
    ],
    ids=" ".join,
)
def test_other_roots_users_and_networks_import_nothing_heavy(options: list[str]) -> None:
    assert find_heavy(imports_of("run", *options, "true")) == set()


@in_container
def test_directory_imports_nothing_heavy(tmp_path: Path) -> None:
    rootfs = make_rootfs(tmp_path)

    loaded = imports_of("run", "--rootfs", str(rootfs), "sh", "-c", "exit 0")

    assert find_heavy(loaded) == set()


@in_container
@pytest.mark.parametrize("sink", ["inherit", "null"])
def test_output_that_does_not_pass_through_mocker_costs_no_import(
    imported: set[str], sink: str
) -> None:
    assert imports_of("run", "--log", sink, "true") <= imported
