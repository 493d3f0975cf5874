import os
import subprocess
import sys
from pathlib import Path

import pytest

from mocker.supervisor.client.completion_command import complete
from tests.requirements import requires_commands
from tests.supervisor.client.fake_supervisor import answering, make_answer

BIN = Path(sys.executable).parent
JOBS = make_answer(
    {"jobs": [{"name": name, "group": name.split("-")[0]} for name in ("web-1", "web-2", "db")]}
)


def run_shell(directory: Path, shell: str, *script: str) -> list[str]:
    """Return the words that a shell prints whose completion is that of mocker."""
    result = subprocess.run(
        [shell, *(["-f"] if shell == "zsh" else []), "-c", "\n".join(script)],
        capture_output=True,
        text=True,
        cwd=directory,
        env={
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(directory),
            "XDG_RUNTIME_DIR": str(directory),
        },
        timeout=15,
        check=False,
    )
    assert result.stderr == ""
    return result.stdout.split()


def complete_in_bash(directory: Path, *line: str) -> list[str]:
    words = " ".join(f"'{word}'" for word in ("mocker", *line))
    return run_shell(
        directory,
        "bash",
        "compopt() { echo compopt:$2; }",  # it is for lines that are typed
        "source <(mocker completion bash)",
        "read -r _ _ function _ < <(complete -p mocker)",
        f"COMP_WORDS=({words}); COMP_CWORD={len(line)}",
        '$function; printf "%s\\n" "${COMPREPLY[@]}"',
    )


@requires_commands("bash")
def test_bash_knows_who_completes() -> None:
    script = "source <(mocker completion bash); complete -p mocker"

    assert run_shell(Path("/"), "bash", script) == ["complete", "-F", "_mocker_complete", "mocker"]


@requires_commands("bash")
@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        (["comp"], ["completion"]),
        (["ps", "--w"], ["--watch"]),
        (["wait", "--for", "=", "r"], ["ready"]),
        (["run", "--rootfs", ""], ["compopt:default"]),
        (["nosuch", ""], []),
    ],
    ids=str,
)
def test_bash_completes_words(tmp_path: Path, line: list[str], candidates: list[str]) -> None:
    assert complete_in_bash(tmp_path, *line) == candidates


@requires_commands("bash")
def test_bash_completes_jobs(tmp_path: Path) -> None:
    with answering(tmp_path, JOBS):
        assert complete_in_bash(tmp_path, "restart", "we") == ["web-1", "web-2", "web"]


@requires_commands("fish")
def test_fish_completes_commands_and_jobs(tmp_path: Path) -> None:
    source = "mocker completion fish | source"

    assert run_shell(tmp_path, "fish", source, "complete -C 'mocker comp'") == ["completion"]
    with answering(tmp_path, JOBS):
        jobs = run_shell(tmp_path, "fish", source, "complete -C 'mocker restart we'")
    assert sorted(jobs) == ["web", "web-1", "web-2"]


@requires_commands("zsh")
def test_zsh_completes_commands_and_jobs(tmp_path: Path) -> None:
    script = [
        "compdef() { print compdef $*; }; compadd() { print ${(P)2}; }; _files() { print files; }",
        "source <(mocker completion zsh)",
    ]

    found = run_shell(tmp_path, "zsh", *script, "words=(mocker comp); CURRENT=2; _mocker")
    assert found == ["compdef", "_mocker", "mocker", "completion"]
    found = run_shell(tmp_path, "zsh", *script, "words=(mocker check ''); CURRENT=3; _mocker")
    assert found == ["compdef", "_mocker", "mocker", "files"]
    with answering(tmp_path, JOBS):
        found = run_shell(tmp_path, "zsh", *script, "words=(mocker stop we); CURRENT=3; _mocker")
    assert found[3:] == ["web-1", "web-2", "web"]


@pytest.mark.parametrize("words", [[], ["tcsh"], ["bash", "zsh"], ["--lists"]])
def test_other_shells_are_wrong_usage(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert complete(words) == 2
    assert capfd.readouterr() == ("", "mocker completion: bash, zsh or fish is needed\n")


def test_help_says_where_the_line_belongs(capsys: pytest.CaptureFixture[str]) -> None:
    assert complete(["--help"]) == 0
    assert "~/.bashrc" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "status", "shown"),
    [
        ([], 0, "run"),
        (["wait", "--for", "s"], 0, "stopped\n"),
        (["check", ""], 10, ""),
        (["nosuch", ""], 0, ""),
    ],
    ids=str,
)
def test_list_is_for_scripts(
    line: list[str], status: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complete(["--list", *line]) == status
    assert capsys.readouterr().out.startswith(shown)
