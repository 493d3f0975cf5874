"""The words after `mocker attach`; what comes of them is in `test_control_attach`."""

from pathlib import Path

import pytest

from mocker.supervisor.client.attach_command import COMMAND
from tests.conftest import Mocker


def test_help_names_the_keys_and_the_exit_statuses() -> None:
    text = COMMAND.render_help()

    assert text.startswith("usage: mocker attach [OPTIONS] JOB\n")
    assert "ctrl-p,ctrl-q)\n" in text
    assert all(f"\n  {status} " in text for status in (0, 1, 2, 4))


@pytest.mark.parametrize(
    ("words", "status"),
    [([], 2), (["web", "db"], 2), (["--detach-keys", "x,", "web"], 2), (["web"], 1)],
)
def test_nothing_is_asked_of_nobody(
    mocker: Mocker, tmp_path: Path, words: list[str], status: int
) -> None:
    ended = mocker("attach", *words, env={"XDG_RUNTIME_DIR": str(tmp_path)})

    assert (ended.returncode, ended.stdout) == (status, "")
    assert ended.stderr.startswith("mocker attach: ")
