import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from mocker.supervisor.cli import _INSTEAD
from mocker.supervisor.client.commands import COMMANDS
from tests.conftest import Mocker

COMMAND = Path(sys.executable).with_name("mocker")
USAGE = "usage: mocker run [OPTIONS] COMMAND [ARG...]"


def test_version_is_that_of_the_package(mocker: Mocker) -> None:
    result = mocker("--version")

    expected = f"mocker {version('mocker-supervise')}\n"
    assert (result.stdout, result.stderr, result.returncode) == (expected, "", 0)


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_names_every_command(mocker: Mocker, word: str) -> None:
    result = mocker(word)

    assert result.stdout.startswith(USAGE)
    assert "mocker check FILE" in result.stdout
    assert "mocker check-host" in result.stdout
    assert (result.stderr, result.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["help", "ps"], "usage: mocker ps"),
        (["help", "run"], "usage: mocker run"),
        (["help", "check-host"], "usage: mocker check-host\n"),
        (["check-host", "--help"], "usage: mocker check-host\n"),
        (["help", "help"], USAGE),
    ],
)
def test_each_command_has_a_help(mocker: Mocker, words: list[str], usage: str) -> None:
    result = mocker(*words)

    assert result.stdout.startswith(usage)
    assert (result.stderr, result.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "a command is needed; see 'mocker --help'"),
        ([""], "unknown command ''; see 'mocker --help'"),
        (["rn"], "unknown command 'rn'; see 'mocker --help'"),
        (["status", "web:*"], "unknown command 'status'; use 'mocker ps'"),
        (["tail", "-f", "web"], "unknown command 'tail'; use 'mocker logs'"),
        (["update"], "unknown command 'update'; use 'mocker reload'"),
        (["-s", "web", "ps"], "unknown command '-s'; use 'mocker COMMAND -s NAME'"),
        (["RUN"], "unknown command 'RUN'; see 'mocker --help'"),
        (["--nosuch"], "unknown command '--nosuch'; see 'mocker --help'"),
        (["a\nb"], r"unknown command 'a\nb'; see 'mocker --help'"),
        (["check-host", "now"], "check-host takes no arguments"),
        (["--version", "run"], "--version takes no arguments"),
    ],
)
def test_wrong_usage_is_a_sentence(mocker: Mocker, words: list[str], sentence: str) -> None:
    result = mocker(*words)

    assert (result.stderr, result.stdout) == (f"mocker: {sentence}\n", "")
    assert result.returncode == 2


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"]])
def test_answer_that_cannot_be_written_is_a_sentence_and_a_failure(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert result.stderr == "mocker: cannot go on: No space left on device (ENOSPC)\n"
    assert result.returncode == 1


def test_answer_that_nobody_reads_ends_it_without_a_word() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)

    result = subprocess.run(
        [COMMAND, "--help"], stdout=write_end, stderr=subprocess.PIPE, text=True, check=False
    )

    os.close(write_end)
    assert (result.stderr, result.returncode) == ("", -13)


def test_part_of_the_program_that_is_not_needed_is_not_imported() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", COMMAND, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "mocker.supervisor.cli" in result.stderr
    assert "mocker.isolation" not in result.stderr


def test_command_of_another_program_is_told_as_one_of_mockers() -> None:
    known = {"COMMAND", "run", "check", "check-host", *COMMANDS}

    assert {instead.split()[0] for instead in _INSTEAD.values()} <= known
    assert not _INSTEAD.keys() & known
