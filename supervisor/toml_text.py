"""Read a TOML text that somebody else wrote, with all that is wrong with it as TOML.

`tomllib` does the parsing. A text that it takes is taken as it is; of any other one, what it does
not take is told and left out, and what is left is read nevertheless.
"""

import tomllib
from typing import Any

import attrs

from .errors import ConfigError
from .mistakes import LOST, Mistakes
from .stderr import make_printable
from .toml_clashes import Arrangement
from .toml_lines import Key
from .toml_statements import LONG_KEY, NOT_UTF_8, Statement, cut_statements

TOO_DEEP = "cannot be read: it is nested too deeply"

_MAX_PROBLEMS = 50  # it is no TOML at all then, and nobody reads more lines
_MAX_READINGS = 5  # each costs as much as the file; only a name that is there more often has more


@attrs.frozen
class Reading:
    """One way to read a text: its tables, and a text with all that is in them in its right line."""

    tables: dict[str, Any]
    text: str


def read_toml(path: str, text: str) -> tuple[tuple[Reading, ...], Mistakes]:
    """Return what a text says, and what of it is no TOML or there twice, as mistakes.

    There is more than one reading if names are there more than once: each has another of the
    values. A value that cannot be read is `LOST`.

    Args:
        path: Of the file, as the mistakes name it.
        text: With a lone surrogate for each byte that is not UTF-8.

    Raises:
        ConfigError: It cannot be read at all.
    """
    if not LONG_KEY.search(text) and not NOT_UTF_8.search(text):
        try:
            return (Reading(tomllib.loads(text), text),), Mistakes(path, text)
        except (ValueError, RecursionError):
            pass  # the statements are asked one by one
    mistakes = Mistakes(path, "")
    statements = _take_statements(text.replace("\r\n", "\n"), mistakes)
    arrangement = Arrangement(statements)
    mistakes.unread += arrangement.unread
    for statement in statements:
        if statement.problem:
            key = arrangement.full_keys.get(statement.line, ())
            mistakes.add_in_line(statement.problem.line, key, statement.problem.text)
    for clash in arrangement.clashes:
        twice = f"is there twice, in line {clash.first_line} and in line {clash.line}"
        mistakes.add_in_line(clash.line, clash.key, twice)
    count = min(arrangement.number_of_readings, _MAX_READINGS)
    try:
        return tuple(_read(arrangement, n) for n in range(count)), mistakes
    except RecursionError:
        raise ConfigError([make_printable(f"{path}: {TOO_DEEP}")]) from None


def _take_statements(text: str, mistakes: Mistakes) -> list[Statement]:
    """Return the statements of a text, up to the one that is a broken one too many."""
    statements, problems = [], 0
    for statement in cut_statements(text):
        problems += statement.problem is not None
        if problems > _MAX_PROBLEMS:
            rest = text.split("\n")[statement.line - 1 :]
            mistakes.unread.append("\n".join(rest))
            more = f"more than {_MAX_PROBLEMS} lines are not TOML; nothing is read from here on"
            mistakes.add_in_line(statement.line, (), more)
            break
        statements.append(statement)
    return statements


def _read(arrangement: Arrangement, number: int) -> Reading:
    tables = tomllib.loads(arrangement.render_tables(number))
    for key in arrangement.lost:
        _lose(tables, key)
    return Reading(tables, arrangement.render_lines(number))


def _lose(tables: dict[str, Any], key: Key) -> None:
    """Put LOST where a value would be, unless there is one."""
    node: Any = tables
    for part in key[:-1]:
        if isinstance(node, dict):
            node = node.setdefault(part, {})
        elif isinstance(node, list) and isinstance(part, int):
            node = node[part]
    if isinstance(node, dict):
        node.setdefault(key[-1], LOST)
