"""Parse a TOML text that somebody else wrote, and say where it is none.

`tomllib` does the parsing. What it does with hostile texts is caught here, and its sentences are
turned into ours.
"""

import re
import tomllib
from typing import Any

from .errors import ConfigError
from .mistakes import Mistakes
from .stderr import make_printable
from .toml_lines import Key

TOO_DEEP = "cannot be read: it is nested too deeply"

# tomllib takes memory and time with the square of the parts: at 100,000 of them, many gigabytes.
_LONG_KEY = re.compile(
    r"""(?:^|[\[{,])[ \t]*(?:(?:[\w-]+|"[^".\n]*"|'[^'.\n]*')[ \t]*\.[ \t]*){100}""", re.MULTILINE
)
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TWICE = re.compile(r"Cannot declare \((?P<key>.*?)\) twice \(at line (?P<line>\d+)")
_MAX_TWICE = 100  # of which each costs one more parse
_SECOND = "second-of-a-name"  # a table that stands in for one whose name comes again


def parse_toml(path: str, text: str) -> tuple[dict[str, Any], Mistakes]:
    """Return the tables of a text, and those that it has twice as mistakes.

    Raises:
        ConfigError: It is no TOML, with the line.
    """
    if long_key := _LONG_KEY.search(text):
        line = text.count("\n", 0, long_key.end()) + 1
        raise ConfigError([make_printable(f"{path}:{line}: a key has more than 100 parts")])
    lines = text.split("\n")
    twice: dict[int, Key] = {}
    try:
        tables = _load_tables(lines, twice)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_explain_syntax(path, text, str(error))]) from None
    except RecursionError:
        raise ConfigError([make_printable(f"{path}: {TOO_DEEP}")]) from None
    except ValueError:
        what = "cannot be read: a number has too many digits, or a date is none"
        raise ConfigError([make_printable(f"{path}: {what}")]) from None
    mistakes = Mistakes(path, "\n".join(lines))
    for line, key in twice.items():
        mistakes.add_in_line(line, key, "is there twice")
    return tables, mistakes


def _load_tables(lines: list[str], twice: dict[int, Key]) -> dict[str, Any]:
    """Return the tables of a text, without the second ones of a name.

    Args:
        lines: Of the text; where a name comes again, it is replaced, so that the rest can be read.
        twice: Grows by the lines that were replaced, and the names that were there.
    """
    while True:
        try:
            tables = tomllib.loads("\n".join(lines))
        except tomllib.TOMLDecodeError as error:
            found = _TWICE.match(str(error))
            if not found or len(twice) == _MAX_TWICE:
                raise
            lines[int(found["line"]) - 1] = f"[{_SECOND}.{len(twice)}]"
            twice[int(found["line"])] = tuple(re.findall(r"'(.*?)'", found["key"]))
        else:
            tables.pop(_SECOND, None)
            return tables


def _explain_syntax(path: str, text: str, message: str) -> str:
    position = _POSITION.search(message)
    what = message[: position.start()] if position else message
    if what == "Cannot overwrite a value":
        what = "a key is there twice"
    column = f" (column {position[2]})" if position and position[2] else ""
    line = int(position[1]) if position and position[1] else text.rstrip().count("\n") + 1
    return make_printable(f"{path}:{line}: not TOML: {what[:1].lower()}{what[1:]}{column}")
