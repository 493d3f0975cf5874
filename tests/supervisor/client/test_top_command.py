"""What `mocker top` says without a terminal; `end_to_end` has one."""

import pytest

from mocker.supervisor.client.top_command import top


def test_terminal_is_needed(capfd: pytest.CaptureFixture[str]) -> None:
    status = top([])

    assert status == 2
    assert capfd.readouterr().err == (
        "mocker top: stdin and stdout must be a terminal; 'mocker ps' needs none\n"
    )


def test_help_lists_the_keys(capsys: pytest.CaptureFixture[str]) -> None:
    status = top(["--help"])

    assert status == 0
    assert "sort by name, CPU, memory, restarts" in capsys.readouterr().out
