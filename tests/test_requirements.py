"""What becomes of a test whose host lacks something, by a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
TESTS = """
from tests.requirements import requires, requires_commands, requires_root, requires_user

@requires(lambda: "")
@requires(lambda: "no such thing here")
def test_of_what_is_missing(): pass

@requires_commands("no-such-program")
def test_of_a_program(): pass

@requires(lambda: "")
def test_of_what_is_there(): pass

@requires_root
def test_of_root(): pass

@requires_user
def test_of_a_user(): pass
"""
OTHER_USER = "an ordinary user" if os.geteuid() == 0 else "root"

pytestmark = pytest.mark.slow


def run_pytest(directory: Path, must_run: str) -> tuple[int, list[str], str]:
    """Return the exit status for the tests above, why some did not pass, and how many did what."""
    file = directory / "test_hosts.py"
    file.write_text(TESTS)
    settings = ["-c", str(CHECKOUT / "pyproject.toml"), "-p", "tests.conftest"]
    settings += ["-p", "no:cacheprovider"]  # the checkout's is that of the tests proper
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--color=no", *settings, str(file)],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "MOCKER_TESTS_MUST_RUN": must_run,
            "PYTEST_ADDOPTS": "",
            "COLUMNS": "200",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    _, summary = result.stdout.split(" short test summary info ")
    *lines, counts = summary.splitlines()[1:]
    return result.returncode, [line.split(": ", 1)[1] for line in lines], counts.split(" in ")[0]


def test_tests_that_lack_something_are_skipped_and_say_what(tmp_path: Path) -> None:
    status, reasons, counts = run_pytest(tmp_path, must_run="")

    assert sorted(reasons) == [
        f"needs {OTHER_USER}",
        "no such thing here",
        "not installed: no-such-program",
    ]
    assert (status, counts) == (0, "2 passed, 3 skipped")


def test_tests_that_lack_something_fail_where_they_must_run(tmp_path: Path) -> None:
    status, reasons, counts = run_pytest(tmp_path, must_run="1")

    assert sorted(reasons) == [
        "no such thing here (MOCKER_TESTS_MUST_RUN=1)",
        "not installed: no-such-program (MOCKER_TESTS_MUST_RUN=1)",
    ]
    assert (status, counts) == (1, "2 passed, 1 deselected, 2 errors")
