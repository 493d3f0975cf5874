import pytest

from mocker.supervisor.client.commands import COMMANDS, find_command


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = find_command(name)
    assert command is not None

    status = command(["--help"])

    assert capsys.readouterr().out.startswith(f"usage: mocker {name}")
    assert status == 0


@pytest.mark.parametrize("word", ["", "PS", "run", "p s", "--help"])
def test_what_is_no_command_is_none(word: str) -> None:
    assert find_command(word) is None
