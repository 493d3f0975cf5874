import os
import subprocess
import sys
from pathlib import Path

import pytest

from mocker.supervisor.supervise_command import run_command
from tests.requirements import requires_user_namespaces

COMMAND = Path(sys.executable).with_name("mocker-supervise")


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_tells_how_it_is_used(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = run_command([word])

    assert (status, "usage: mocker-supervise FILE" in capsys.readouterr().out) == (0, True)


def test_help_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["--help"])

    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["--version"])

    assert capsys.readouterr().out.startswith("mocker-supervise ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a file is needed; see 'mocker-supervise --help'"),
        (["a", "b"], "one file is enough; see 'mocker-supervise --help'"),
        (["--verbose"], "unknown option '--verbose'; see 'mocker-supervise --help'"),
        (["--version", "a"], "--version takes no arguments"),
        (["--verbose", "a"], "unknown option '--verbose'; see 'mocker-supervise --help'"),
    ],
)
def test_wrong_usage_is_told(
    words: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    status = run_command(words)

    assert (status, capfd.readouterr().err) == (2, f"mocker-supervise: {message}\n")


def test_file_that_is_missing_is_told_and_exits_2(tmp_path: Path) -> None:
    result = subprocess.run(
        [COMMAND, tmp_path / "none.toml"], capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("mocker-supervise: ")
    assert result.stderr.count("\n") == 1


def test_directory_that_cannot_be_used_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text("[jobs.web]\ncommand = ['true']\n")
    (tmp_path / "mocker").write_text("in the way")

    result = subprocess.run(
        [COMMAND, tmp_path / "jobs.toml"],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert str(tmp_path / "mocker") in result.stderr


def test_nothing_heavy_is_imported_before_the_fork_server() -> None:
    program = "import sys; import mocker.supervisor.supervise_command; print(*sys.modules)"

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert not {"attr", "attrs", "structlog", "trio", "asyncio"} & set(result.stdout.split())


def test_what_few_need_is_not_imported_before_they_do() -> None:
    program = "import sys; import mocker.supervisor.supervise_file; print(*sys.modules)"

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    modules = set(result.stdout.split())
    assert "mocker.supervisor.control.server" in modules
    assert not {"starlette", "hypercorn", "h11", "regex"} & modules


@requires_user_namespaces
def test_host_without_proc_is_told_in_a_sentence(tmp_path: Path) -> None:
    in_namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    words = ["sh", "-c", f"mount -t tmpfs none /proc; exec {COMMAND} {tmp_path}/jobs.toml"]

    result = subprocess.run([*in_namespace, *words], capture_output=True, text=True, check=False)

    assert result.stderr.startswith("mocker-supervise: cannot count threads in /proc/self/task: ")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
