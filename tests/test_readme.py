"""The README's examples, run: what it shows is what is seen."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mocker.supervisor.job_keys import JOB_KEYS
from tests.requirements import requires_busybox, requires_user_namespaces

CHECKOUT = Path(__file__).parent.parent
README = (CHECKOUT / "README.md").read_text()
CONSOLE_BLOCKS = re.findall(r"^```console\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
FIRST_COMMAND, *OTHER_COMMANDS = re.findall(
    r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", "".join(CONSOLE_BLOCKS), re.MULTILINE
)
LIBRARY_EXAMPLE, LIBRARY_OUTPUT = re.findall(
    r"^```python\n(.*?)^```\n\n^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE
)[0]


def run_shell(command: str, directory: Path) -> str:
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return result.stdout


def test_first_command_is_shown_by_line_25() -> None:
    line = README[: README.index(FIRST_COMMAND[0])].count("\n") + 1

    assert line <= 25


@requires_busybox
@requires_user_namespaces
@pytest.mark.slow
@pytest.mark.end_to_end
@pytest.mark.timeout(300)
def test_first_command_works_in_a_fresh_checkout(tmp_path: Path) -> None:
    command, output = FIRST_COMMAND
    checkout = tmp_path / "mocker"
    shutil.copytree(
        CHECKOUT, checkout, symlinks=True, ignore=shutil.ignore_patterns(".git", ".venv", ".*cache")
    )
    python = shlex.quote(sys.executable)

    # The interpreter of this environment has venv and pip wherever the tests run.
    shown = run_shell(command.replace("python3", python), checkout)

    assert shown.endswith(output)  # pip may warn of the package index before that


@requires_busybox
@requires_user_namespaces
@pytest.mark.end_to_end
@pytest.mark.parametrize(("command", "output"), OTHER_COMMANDS)
def test_command_shows_what_the_readme_shows(command: str, output: str, tmp_path: Path) -> None:
    shown = run_shell(command, tmp_path)

    assert shown == output


@requires_busybox
@requires_user_namespaces
@pytest.mark.end_to_end
def test_library_example_prints_what_the_readme_shows(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(LIBRARY_EXAMPLE)

    shown = run_shell("python example.py", tmp_path)

    assert shown == LIBRARY_OUTPUT


def test_files_that_the_readme_names_are_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    code = re.findall(r"`((?:tests|supervisor|isolation|\.ci)/[\w./]*)`", README)

    missing = [name for name in {*linked, *code} if not (CHECKOUT / name).exists()]

    assert missing == []


def test_every_key_of_a_job_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", README, re.MULTILINE)

    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(JOB_KEYS)
