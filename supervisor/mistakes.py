"""The mistakes of a file, gathered so that all of them are told in one go, each with its line."""

import difflib
import functools
import os
import re
from collections.abc import Iterable

import attrs

from .stderr import make_printable
from .toml_lines import Key, find_lines

LOST = object()  # stands for a value that cannot be read, of which that has been told
UNREAD_KEY = ""  # whose value is LOST in a table that may have more keys than can be read
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MAX_VALUE = 60  # characters of a value that are shown


class MistakeError(ValueError):
    """A value that cannot be meant, in words that go on from its key's name: "must be …"."""


class ToldError(ValueError):
    """A value is of no use, and why has been told."""


class Mistakes:
    """What is wrong with one file.

    Attributes:
        path: Of the file, as the reader of the mistakes knows it.
        directory: Absolute, what relative paths of the file are relative to.
        unread: Parts of the file that may have tables, and cannot be read.
        unnumbered: Jobs of which nobody knows how many replicas they have.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.directory = os.path.dirname(os.path.abspath(path))
        self.unread: list[str] = []
        self.unnumbered: set[str] = set()
        self.read_as(text)
        self._found: dict[tuple[int, str], None] = {}  # a set that keeps its order

    def __bool__(self) -> bool:
        return bool(self._found)

    def read_as(self, text: str) -> None:
        """Take lines from this text, which is one of several ways to read the file."""
        self._text = text
        self._lines: dict[Key, int] | None = None

    def may_have(self, name: str) -> bool:
        """Tell whether a name may be among what cannot be read."""
        return name.rpartition("-")[0] in self.unnumbered or any(
            name in text for text in self.unread
        )

    def add(self, key: Key, text: str) -> None:
        """Note a mistake at a key; the same one of several jobs, from their defaults, once."""
        self.add_in_line(self.find_line(key), key, text)

    def add_in_line(self, line: int, key: Key, text: str) -> None:
        """Note a mistake that is in another line than the key; 0 for no line."""
        where = f"{self.path}:{line}" if line else self.path
        name = f" {render_key(key)}:" if key else ""
        self._found[line, make_printable(f"{where}:{name} {text}")] = None

    def has_key(self, key: Key) -> bool:
        """Tell whether the file has a key."""
        return key in self._look_up_lines()

    def find_line(self, key: Key) -> int:
        """Return the line of a key, or of the table that lacks it; 0 if there is neither."""
        lines = self._look_up_lines()
        return next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), 0)

    def render(self) -> tuple[str, ...]:
        """Return a line for each mistake, in the order of the file."""
        return tuple(text for _, text in sorted(self._found, key=lambda found: found[0]))

    def _look_up_lines(self) -> dict[Key, int]:
        if self._lines is None:  # a file without mistakes needs none
            self._lines = find_lines(self._text)
        return self._lines


@attrs.frozen
class Place:
    """A key of a file, where a mistake may be noted."""

    mistakes: Mistakes
    key: Key

    def at(self, *parts: str | int) -> "Place":
        """Return a place inside."""
        return Place(self.mistakes, (*self.key, *parts))

    def refuse(self, text: str) -> None:
        """Note a mistake."""
        self.mistakes.add(self.key, text)

    def make_absolute(self, path: str) -> str:
        """Return a path, a relative one as seen from the file's directory."""
        return os.path.normpath(os.path.join(self.mistakes.directory, path))


def find_job_place(mistakes: Mistakes, job: str, key: str) -> Place:
    """Return where a key of a job was said: in its own table, or else in the defaults."""
    own, default = ("jobs", job, key), ("defaults", key)
    is_default = mistakes.has_key(default) and not mistakes.has_key(own)
    return Place(mistakes, default if is_default else own)


def render_key(key: Key) -> str:
    """Return a key as TOML has it, the elements of arrays in brackets, counted from 0."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            dot = "." if text else ""
            text += f"{dot}{part}" if _BARE_KEY.fullmatch(part) else f"{dot}{_quote(part)}"
    return text


def render_value(value: object) -> str:
    """Return what a value of the file looks like, however big or deep it is."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "a table"
        case list():
            return "an array"
        case str():
            # str(), because a value that a variable took part in is more than that.
            short = str(value[:_MAX_VALUE])
            return f"{short!r}" if len(value) <= _MAX_VALUE else f"{short!r}…"
        case int() if abs(value) >= 10**_MAX_VALUE:
            return "a huge number"
        case _:
            return str(value)


def suggest(word: str, words: Iterable[str]) -> str:
    """Return "; did you mean …?" with the nearest of the valid words, nothing if none is near."""
    near = _find_nearest(word[:_MAX_VALUE], frozenset(words))
    return f"; did you mean {near!r}?" if near else ""


@functools.lru_cache  # a name that is gone is missed by many, and each asks a thousand others
def _find_nearest(word: str, words: frozenset[str]) -> str:
    return next(iter(difflib.get_close_matches(word, sorted(words), 1)), "")


def _quote(part: str) -> str:
    return '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
