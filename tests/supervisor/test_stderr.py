import subprocess
import sys

import pytest

from mocker.supervisor.stderr import make_printable, write_line

LETTERS = "jöb 職\u202e\t\n\udcff"
PRINTABLE = r"jöb 職\u202e\t\n\udcff"


def test_letters_of_any_language_are_printable() -> None:
    assert make_printable(LETTERS) == PRINTABLE


def test_whatever_is_said_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    write_line(LETTERS)

    assert capfd.readouterr().err == f"{PRINTABLE}\n"


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_what_nobody_can_be_told_goes_nowhere_else(stderr: str) -> None:
    program = "from mocker.supervisor.stderr import write_line; write_line('lost')"

    result = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {stderr}', sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)
