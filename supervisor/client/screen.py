"""The whole screen of a terminal, drawn anew now and then, and as it was whenever that ends.

What is used of the terminal is what all have that people have today; so it needs no table of them.

Source: console_codes(4), and xterm's control sequences: 1049 for another screen, 7 for cutting long
lines off, 25 for the cursor.
"""

import os
import select
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..terminal import Terminal

_STDOUT = 1
_ENTER, _LEAVE = "\033[?1049h\033[?7l\033[?25l", "\033[0m\033[?25h\033[?7h\033[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\033[H", "\033[K", "\033[J"
_STYLES = {"": "", "bold": "\033[1m", "reverse": "\033[7m"}
_PLAIN = "\033[0m"
_CHUNK = 2**12  # bytes
_USUAL = (80, 24)  # of a terminal that does not know its size


class Row(NamedTuple):
    """A row of the screen; the style is "", "bold" or "reverse"."""

    text: str
    style: str = ""


class HungUpError(Exception):
    """The terminal is gone."""


class Screen:
    """A screen that belongs to the calling process."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def fileno(self) -> int:
        """Return the descriptor that is readable when a key was pressed."""
        return self._terminal.fd

    @property
    def size(self) -> tuple[int, int]:
        """How many columns and rows it has."""
        try:
            size = os.get_terminal_size(_STDOUT)
        except OSError:
            return _USUAL
        return (size.columns or _USUAL[0], size.lines or _USUAL[1])

    def read(self) -> bytes:
        """Return what was typed; nothing if nothing was.

        Raises:
            HungUpError: The terminal is gone.
        """
        try:
            data = os.read(self._terminal.fd, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise HungUpError from error
        if not data:
            raise HungUpError
        return data

    def draw(self, rows: Iterable[Row]) -> None:
        """Show rows from the top; the terminal cuts off what is too long.

        Nothing is cleared before, which would flicker.

        Raises:
            HungUpError: The terminal is gone.
        """
        drawn = [f"{_STYLES[row.style]}{row.text}{_PLAIN}{_CLEAR_LINE}" for row in rows]
        _write(_HOME + "\r\n".join(drawn) + _CLEAR_BELOW)

    def suspend(self) -> None:
        """Give the terminal to the shell, until that lets this process go on."""
        self.leave()
        os.killpg(0, signal.SIGTSTP)
        self.enter()

    def enter(self) -> None:
        """Take the terminal, once it may be had.

        Raises:
            HungUpError: The terminal is gone, or never will be had.
        """
        while not self._terminal.take():
            self.read()  # in the background, that stops the process until its shell lets it go on
        _write(_ENTER)

    def leave(self) -> None:
        """Make the terminal what it was."""
        if self._terminal.in_foreground():
            _write(_LEAVE)
        self._terminal.give_back()


@contextmanager
def open_screen() -> Iterator[Screen]:
    """Take the terminal for the length of a block.

    Raises:
        HungUpError: The terminal is gone.
    """
    with Terminal() as terminal:
        screen = Screen(terminal)
        try:
            screen.enter()
            yield screen
        finally:
            screen.leave()


def _write(text: str) -> None:
    data = text.encode(errors="replace")
    while data:
        try:
            data = data[os.write(_STDOUT, data) :]
        except BlockingIOError:
            select.select([], [_STDOUT], [])
        except OSError as error:
            raise HungUpError from error
