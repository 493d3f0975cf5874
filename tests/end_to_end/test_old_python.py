"""Pythons that run everywhere, such as those of uv and conda: built where there were no pidfds."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.controlled import MOCKER, open_controlled
from tests.end_to_end.job_texts import SLEEP, job
from tests.end_to_end.processes import PATIENCE
from tests.journald import open_journald, requires_journald
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

# What such a Python does not have.
OLD = """\
import fcntl, os, posix, _signal, signal
for module in (fcntl, os, posix, _signal, signal):
    for name in list(vars(module)):
        if name.startswith(("F_ADD_SEALS", "F_SEAL", "MFD_", "memfd", "pidfd", "P_PIDFD")):
            delattr(module, name)
"""


@pytest.fixture
def _old_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "old"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(OLD)
    monkeypatch.setenv("PYTHONPATH", str(directory))


@pytest.mark.usefixtures("_old_python")
def test_python_of_these_tests_is_such_a_one() -> None:
    program = "import os; os.pidfd_open"

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert "has no attribute 'pidfd_open'" in result.stderr


@pytest.mark.usefixtures("_old_python")
def test_container_runs_with_it() -> None:
    result = subprocess.run(
        [MOCKER, "run", "sh", "-c", "echo hello; exit 7"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert (result.returncode, result.stdout, result.stderr) == (7, "hello\n", "")


@requires_journald
@pytest.mark.usefixtures("_old_python")
def test_job_runs_with_it_and_its_longest_line_is_in_the_journal(tmp_path: Path) -> None:
    script = "head -c 500000 /dev/zero | tr '\\0' x; echo; echo done >&2; " + SLEEP
    keys = "stdout = 'journald'\nmax_line = '1M'"
    with open_journald() as journald:
        text = f"[supervisor]\njournald_socket = '{journald.socket}'\n" + job("web", script, keys)

        with open_controlled(tmp_path, text) as control:
            control.run.wait_line("web | done")
            inside = control.mocker("exec", "web", "sh", "-c", "echo inside; exit 7")
            stopped = control.mocker("kill", "web")
            status = control.run.terminate()
            remarks = control.run.remarks

        (line,) = journald.read_messages("CONTAINER_NAME=web")

    assert (inside.returncode, inside.stdout, inside.stderr) == (7, "inside\n", "")
    assert (stopped.returncode, stopped.stderr, status, remarks) == (0, "", 0, [])
    assert line == "x" * 500_000
