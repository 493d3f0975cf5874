"""The words after `mocker exec`; what comes of them is in `test_control_exec`."""

from pathlib import Path

import pytest

from mocker.supervisor.client.exec_command import COMMAND
from tests.conftest import Mocker


def test_words_of_the_command_are_not_read_as_options() -> None:
    parsed = COMMAND.parse(["-it", "-e", "A=1", "--user=nobody", "web", "ls", "-e", "--help"])

    assert parsed.words == ("web", "ls", "-e", "--help")
    assert (parsed.all("--env"), parsed.maybe("--user")) == (["A=1"], "nobody")
    assert parsed.has("--tty")


def test_help_names_the_exit_statuses() -> None:
    text = COMMAND.render_help()

    assert text.startswith("usage: mocker exec [OPTIONS] JOB COMMAND [ARG...]\n")
    assert all(f"\n  {status} " in text for status in (125, 126, 127))


@pytest.mark.parametrize(
    ("words", "status"), [(["web"], 2), (["-e", "=", "web", "true"], 2), (["web", "true"], 125)]
)
def test_nothing_is_asked_of_nobody(
    mocker: Mocker, tmp_path: Path, words: list[str], status: int
) -> None:
    ended = mocker("exec", *words, env={"XDG_RUNTIME_DIR": str(tmp_path)})

    assert (ended.returncode, ended.stdout) == (status, "")
    assert ended.stderr.startswith("mocker exec: ")
