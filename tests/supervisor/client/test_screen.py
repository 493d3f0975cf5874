"""The whole screen of a pseudoterminal; `end_to_end` has a terminal emulator."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.pty_driver import DASH, OuterTerminal, open_terminal

ENTERED, LEFT = r"\x1b\[\?1049h", r"\x1b\[\?1049l"
HEAD = "from mocker.supervisor.client.screen import HungUpError, Row, open_screen; import select\n"
WAIT = "select.select([screen], [], [])"


@contextmanager
def open_program(directory: Path, block: str, end: str = "") -> Iterator[OuterTerminal]:
    """Run a program that has a screen for the length of a block, and says how that ended."""
    lines = "".join(f"        {line}\n" for line in block.splitlines())
    program = directory / "program.py"
    program.write_text(
        f"{HEAD}try:\n    with open_screen() as screen:\n{lines}"
        f"except Exception as error: print('<', type(error).__name__, '>')\n"
        f"else: print('< done >')\n{end}"
    )
    with open_terminal(DASH) as terminal:
        terminal.type(f"{sys.executable} {program}\n")
        yield terminal


def test_rows_are_drawn_in_their_styles(tmp_path: Path) -> None:
    block = f"screen.draw([Row('one', 'bold'), Row('two')]); {WAIT}; print(screen.read())"

    with open_program(tmp_path, block) as terminal:
        terminal.wait_for(ENTERED)
        shown = terminal.wait_for("\x1b\\[H.*\x1b\\[J")
        terminal.type("x")
        terminal.wait_for("< done >")

    assert shown == "\x1b[H\x1b[1mone\x1b[0m\x1b[K\r\ntwo\x1b[0m\x1b[K\x1b[J"


@pytest.mark.parametrize(
    ("block", "ending"), [(WAIT, "done"), (f"{WAIT}; raise KeyError", "KeyError")]
)
def test_terminal_is_as_it_was_however_that_ends(block: str, ending: str, tmp_path: Path) -> None:
    with open_program(tmp_path, block) as terminal:
        terminal.wait_for(ENTERED)
        was_raw = terminal.is_raw
        terminal.type("x")
        terminal.wait_for(f"{LEFT}.*< {ending} >")
        terminal.wait_for_prompt()
        is_as_found = terminal.is_as_found

    assert (was_raw, is_as_found) == (True, True)


def test_size_is_that_of_the_terminal(tmp_path: Path) -> None:
    with open_program(tmp_path, "size = screen.size", "print(size)") as terminal:
        assert terminal.wait_for(r"\(\d+, \d+\)") == "(80, 24)"


def test_nothing_is_read_where_nothing_was_typed(tmp_path: Path) -> None:
    with open_program(tmp_path, "data = screen.read()", "print(data)") as terminal:
        assert terminal.wait_for("b''")
