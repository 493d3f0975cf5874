"""Of what priority a line is: its own, if it begins with one, or that of the channel it came by.

Source: sd-daemon(3), syslog(3).
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from .lines import Lines, Source

_ERROR, _INFORMATIONAL = 3, 6
_PREFIX = re.compile(rb"<([0-7])>")


class Piece(NamedTuple):
    """A piece of a line.

    Attributes:
        priority: That of its line.
        text: Without the priority that its line began with, and without an end.
        is_rest: Whether a piece of the same line came before it.
        goes_on: Whether another one will come.
    """

    priority: int
    text: bytes
    is_rest: bool
    goes_on: bool


class Priorities:
    """The priorities of what comes by one channel of a run.

    Attributes:
        usual: That of lines that say nothing about it.
    """

    def __init__(self, source: Source) -> None:
        self.usual = _ERROR if source.channel == "stderr" else _INFORMATIONAL
        self._latest = self.usual  # of the piece that came last

    def tell_apart(self, lines: Lines) -> Iterator[Piece]:
        """Look at each piece; all those of one line have the priority of its first one."""
        partial = set(lines.partial)
        is_rest = lines.continues
        for index, piece in enumerate(lines.split()):
            text = piece
            if not is_rest:
                prefix = _PREFIX.match(piece)
                self._latest = int(prefix[1]) if prefix else self.usual
                text = piece[prefix.end() :] if prefix else piece
            goes_on = index in partial
            yield Piece(self._latest, text, is_rest, goes_on)
            is_rest = goes_on


def may_say(lines: Lines) -> bool:
    """Return whether any line says what its priority is; what is not sure counts as yes."""
    return lines.text.startswith(b"<") or b"\n<" in lines.text
