"""In which line of a TOML text each key is, which `tomllib` does not tell.

The text is one that `tomllib` has taken, so nothing is checked here: a token ends where TOML 1.0
says that it does, and what it means has been found out already.
"""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator

Key = tuple[str | int, ...]  # ("jobs", "web", "volumes", 1)

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}(?!")'
    r"|'''.*?'{3,5}(?!')"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_PLAIN_VALUE = re.compile(r"[^,\]}#\n]*")  # a number, a date, true or false


def find_lines(text: str) -> dict[Key, int]:
    """Return the line, counted from 1, of each key, table and element of an array.

    A table that only other names speak of, as `[jobs.web]` of `jobs`, is where that happens first.
    """
    scanner = _Scanner(text)
    scanner.read_document()
    return scanner.lines


def read_key(text: str, start: int) -> tuple[tuple[str, ...], int]:
    """Return the parts of the key that is there, and where it ends.

    Raises:
        ValueError: There is none.
    """
    scanner = _Scanner(text, start)
    return tuple(scanner.read_key()), scanner.position


class _Scanner:
    """Where in the text the reading is, and what was found so far."""

    def __init__(self, text: str, start: int = 0) -> None:
        self.lines: dict[Key, int] = {}
        self.position = start
        self._text = text
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._array_sizes: dict[Key, int] = {}  # of those of tables, [[…]]

    def read_document(self) -> None:
        """Find the lines of all that there is."""
        table: Key = ()
        while self._skip(_BLANK) < len(self._text):
            if self._text[self.position] == "[":
                table = self._read_header()
            else:
                self._read_pair(table)

    def _read_header(self) -> Key:
        start = self.position
        is_array = self._text.startswith("[[", start)
        self.position += 1 + is_array
        key: Key = ()
        for part in self.read_key():
            key = (*self._enter(key), part)
            self._note(key, start)
        self.position += 1 + is_array
        if is_array:
            self._array_sizes[key] = self._array_sizes.get(key, 0) + 1
            key = self._enter(key)
            self._note(key, start)
        return key

    def _enter(self, key: Key) -> Key:
        """Return the last table of an array of tables; any other key as it is."""
        size = self._array_sizes.get(key)
        return key if size is None else (*key, size - 1)

    def _read_pair(self, table: Key) -> None:
        start, key = self.position, table
        for part in self.read_key():
            key = (*key, part)
            self._note(key, start)
        self.position += 1  # "="
        self._skip(_SPACE)
        self._read_value(key)

    def read_key(self) -> Iterator[str]:
        """Yield the parts of a key."""
        while True:
            self._skip(_SPACE)
            bare = _BARE_KEY.match(self._text, self.position)
            if bare:
                self.position = bare.end()
                yield bare[0]
            else:
                start = self.position
                token = self._text[start : self._skip(STRING)]
                yield str(tomllib.loads(f"x = {token}")["x"])
            self._skip(_SPACE)
            if self._text[self.position : self.position + 1] != ".":
                return
            self.position += 1

    def _read_value(self, key: Key) -> None:
        match self._text[self.position]:
            case '"' | "'":
                self._skip(STRING)
            case "[":
                self._read_array(key)
            case "{":
                self._read_inline_table(key)
            case _:
                self._skip(_PLAIN_VALUE)

    def _read_array(self, key: Key) -> None:
        self.position += 1
        index = 0
        while self._text[self._skip(_BLANK)] != "]":
            element = (*key, index)
            self._note(element, self.position)
            self._read_value(element)
            index += 1
            if self._text[self._skip(_BLANK)] == ",":
                self.position += 1
        self.position += 1

    def _read_inline_table(self, key: Key) -> None:
        self.position += 1
        while self._text[self._skip(_BLANK)] != "}":
            self._read_pair(key)
            if self._text[self._skip(_BLANK)] == ",":
                self.position += 1
        self.position += 1

    def _skip(self, pattern: re.Pattern[str]) -> int:
        """Go on behind what matches here, if anything does, and return where that is."""
        match = pattern.match(self._text, self.position)
        if match:
            self.position = match.end()
        return self.position

    def _note(self, key: Key, position: int) -> None:
        self.lines.setdefault(key, bisect_right(self._line_starts, position))
