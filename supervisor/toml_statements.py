"""Cut a TOML text into its statements, so that a broken one hides none of the others.

`tomllib` says of each statement alone whether it is one. Only where a statement ends is found out
here: where its line does, unless a bracket or a string of several lines is open. If that is never
closed, it ends before what looks like the next statement.
"""

import re
import tomllib
from collections.abc import Iterator

import attrs

from .toml_lines import STRING, read_key

# tomllib takes memory and time with the square of the parts: at 100,000 of them, many gigabytes.
LONG_KEY = re.compile(
    r"""(?:^|[\[{,])[ \t]*(?:(?:[\w-]+|"[^".\n]*"|'[^'.\n]*')[ \t]*\.[ \t]*){100}""", re.MULTILINE
)
NOT_UTF_8 = re.compile("[\udc80-\udcff]")  # bytes, as the "surrogateescape" of a codec has them
_NOTHING = re.compile(r"[ \t]*(?:#[^\x00-\x08\x0a-\x1f\x7f\udc80-\udcff]*)?")
_BRACKET = re.compile(r"[ \t]*\[")
_SPECIAL = re.compile(r"[\"'\[\]{}#\n]")
# Not what may be a line of an array, such as [true].
_HEADER_NAME = r"(?!true\b|false\b|inf\b|nan\b)[A-Za-z_][^\[\]{}=,\n]*"
_HEADER_LINE = rf"^[ \t]*\[{{1,2}}[ \t]*{_HEADER_NAME}\]{{1,2}}[ \t]*(?:#.*)?$"
_PAIR_BEGIN = r"""^[ \t]*(?:[\w-]+|"[^"\n]*"|'[^'\n]*')(?:[ \t]*\.[ \t]*[\w"'-]+)*[ \t]*="""
_HEADER = re.compile(_HEADER_LINE, re.MULTILINE)
_START = re.compile(rf"{_PAIR_BEGIN}|{_HEADER_LINE}", re.MULTILINE)
_MAX_CUT = 100  # lines of an inline table, which ought to have one
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_WORDS = {  # where tomllib's own do not say what the writer did
    "Cannot overwrite a value": "a key is there twice",
    r"Illegal character '\n'": "a string is not closed",
    r"Found invalid character '\n'": "a string is not closed",
    "Unterminated string": "a string is not closed",
    'Expected "\'"': "a string is not closed",
    "Expected \"'''\"": "a string is not closed",
}
_NOT_CLOSED = {
    "[": "an array is not closed",
    "{": "an inline table is not closed",
    '"': "a string is not closed",
    "'": "a string is not closed",
}
_IN_BRACES = {"Invalid initial character for a key part", "Unclosed inline table"}


@attrs.frozen(kw_only=True)
class Problem:
    """Why something is no statement, and in which line."""

    line: int
    text: str


@attrs.frozen(kw_only=True)
class Statement:
    """A header, a key with its value, or text that is neither.

    Attributes:
        line: The first one, from 1.
        text: Whole lines; of a header that is broken in a way that leaves no doubt, the right one.
        key: Without the table's; empty if it cannot be read.
        problem: None if tomllib takes it.
    """

    line: int
    text: str
    key: tuple[str, ...]
    problem: Problem | None

    @property
    def is_header(self) -> bool:
        """Tell whether it begins a table."""
        return self.text.lstrip().startswith("[")

    @property
    def is_array_header(self) -> bool:
        """Tell whether it begins another table of an array."""
        return self.text.lstrip().startswith("[[")

    @property
    def is_comment(self) -> bool:
        """Tell whether it is a comment, which only a control character can break."""
        return self.text.lstrip().startswith("#")


def cut_statements(text: str) -> Iterator[Statement]:
    """Yield what a text consists of, comments and empty lines apart."""
    start, line = 0, 1
    while start < len(text):
        end = _find_line_end(text, start)
        if not _NOTHING.fullmatch(text, start, end):
            statement, end = _read_statement(text, start, line)
            yield statement
        line += text.count("\n", start, end + 1)
        start = end + 1


def _read_statement(text: str, start: int, line: int) -> tuple[Statement, int]:
    """Return a statement and where it ends, which is at a newline or the end of the text."""
    end, opened = _find_end(text, start)
    line_end = _find_line_end(text, start)
    problem = None if opened else _find_problem(text[start:end], line)
    if problem and (header := _HEADER.search(text, line_end, end)):
        # It was closed by what opens or closes something in another table.
        end = header.start() - 1
        opened = _find_end(text[start:end], 0)[1]
    if opened:
        # Lines of a string may look like keys, but hardly like a table.
        begin = _HEADER if opened in {'"', "'"} else _START
        following = begin.search(text, line_end, end)
        end = following.start() - 1 if following else start + len(text[start:end].rstrip())
        problem = _find_problem(text[start:end], line, opened)
    own = text[start:end]
    if problem and own.lstrip().startswith("["):
        key, own = _mend_header(own)
    else:
        key, key_end = _find_key(own)
        key = key if own[key_end : key_end + 1] == "=" or not problem else ()
    return Statement(line=line, text=own, key=key, problem=problem), end


def _find_problem(text: str, line: int, opened: str = "") -> Problem | None:
    """Return why a text is no statement, if it is none.

    Args:
        text: Whole lines.
        line: The first one.
        opened: The bracket or quote in it that is not closed.
    """
    if byte := NOT_UTF_8.search(text):
        what = f"is not UTF-8: byte {ord(byte[0]) - 0xDC00:#04x}"
        return Problem(line=line + text.count("\n", 0, byte.start()), text=what)
    if LONG_KEY.search(text):
        return Problem(line=line, text="a key has more than 100 parts")
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _explain(str(error), text, line, opened)
    except RecursionError:
        return Problem(line=line, text="cannot be read: it is nested too deeply")
    except ValueError:
        what = "cannot be read: a number has too many digits, or a date is none"
        return Problem(line=line, text=what)
    return None


def _explain(message: str, text: str, line: int, opened: str) -> Problem:
    """Return what tomllib has against a text."""
    position = _POSITION.search(message)
    what = message[: position.start()] if position else message
    if not position or not position[1]:  # the end of the text
        what = _NOT_CLOSED.get(opened, _WORDS.get(what, what))
        return Problem(line=line, text=f"not TOML: {what[:1].lower()}{what[1:]}")
    row, column = int(position[1]), int(position[2])
    what = _WORDS.get(what, what)
    if "\n" in text and text.split("\n")[row - 1][column - 1 :] == "" and what in _IN_BRACES:
        what = "an inline table is not in one line"
    shown = f"not TOML: {what[:1].lower()}{what[1:]} (column {column})"
    return Problem(line=line + row - 1, text=shown)


def _find_end(text: str, start: int) -> tuple[int, str]:
    """Return where a statement ends, and the first bracket, or the quote, that is open then."""
    if _BRACKET.match(text, start):
        return _find_line_end(text, start), ""  # a header has one line
    position, opened, cut = start, "", 0
    while position < len(text):
        match text[position]:
            case "\n" if not opened:
                return position, ""
            case "\n":
                position += 1
                cut += opened[-1] == "{"
                begin = _START if opened[-1] == "[" else _HEADER
                if begin.match(text, position) or cut > _MAX_CUT:
                    return position - 1, opened[0]
            case "[" | "{" | "]" | "}" as bracket:
                opened = opened + bracket if bracket in "[{" else opened[:-1]
                position += 1
            case "#":
                position = _find_line_end(text, position)
            case '"' | "'" as quote:
                position = _find_string_end(text, position)
                if position > len(text):
                    return len(text), quote
            case _:
                special = _SPECIAL.search(text, position)
                position = special.start() if special else len(text)
    return len(text), opened[:1]


def _find_string_end(text: str, start: int) -> int:
    """Return where a string ends; behind the text if it never does."""
    string = STRING.match(text, start)
    found = string[0] if string else ""
    if text.startswith(text[start] * 3, start):
        return start + len(found) if len(found) >= 6 else len(text) + 1
    if not found or "\n" in found:  # that is, behind a backslash
        return _find_line_end(text, start)
    return start + len(found)


def _find_line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _find_key(text: str) -> tuple[tuple[str, ...], int]:
    """Return the key that a text begins with and where it ends; an empty one if it has none."""
    if LONG_KEY.search(text):
        return (), 0
    try:
        return read_key(text, len(text) - len(text.lstrip(" \t[")))
    except ValueError:
        return (), 0


def _mend_header(text: str) -> tuple[tuple[str, ...], str]:
    """Return the key that a broken header must have, and the header; or no key, and the text."""
    key, end = _find_key(text)
    rest = text[end:].strip()
    if not key or (rest and rest[0] not in "]#"):
        return (), text
    brackets = 2 if text.lstrip().startswith("[[") and rest.startswith("]]") else 1
    name = text[:end].lstrip(" \t[")
    return key, f"{'[' * brackets}{name}{']' * brackets}"
