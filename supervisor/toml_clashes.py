"""Which statements of a TOML text cannot be there together, and what is left without them.

A name is a value, or a table with a header, or one that dotted keys make, or an array of tables;
what TOML 1.0 refuses is that it is two of these, or the same one again. The keys below a header
that comes again belong to the first table: each is one that it lacks, or another way to read it.
"""

from collections.abc import Iterable

import attrs

from .mistakes import UNREAD_KEY
from .toml_lines import Key
from .toml_statements import Statement


@attrs.frozen
class Clash:
    """A name that is there twice, and the lines in which it is."""

    key: Key
    first_line: int
    line: int


@attrs.define
class _Name:
    """What a name is: "implied" by longer ones, "dotted", "table", "array" or "value".

    Attributes:
        section: Number of the header above it.
        size: Of an array of tables.
    """

    kind: str
    line: int
    section: int
    size: int = 0


class Arrangement:
    """Statements in tables, so that none clashes with another one.

    Attributes:
        clashes: Those that were found.
        lost: Names whose value cannot be read; the last part is `UNREAD_KEY` for any others that
            their table may have.
        unread: Headers that could not be read, as text.
        full_keys: Of the statements with problems, by line, as far as they are known.
    """

    def __init__(self, statements: Iterable[Statement]) -> None:
        self.clashes: list[Clash] = []
        self.lost: list[Key] = []
        self.unread: list[str] = []
        self.full_keys: dict[int, Key] = {}
        self._names: dict[Key, _Name] = {}
        self._refused: set[Key] = set()  # tables that have the name of something else
        self._section = 0
        self._headers: list[Statement] = []  # all that can stay
        self._opening: dict[Key, str] = {(): ""}  # of each table, the header's line
        self._members: dict[Key, dict[Key, None]] = {(): {}}  # of each table, its keys in order
        self._choices: dict[Key, list[Statement]] = {}  # of each key, those that may be read
        table: Key | None = ()  # None if it is not known
        stays = True
        for statement in statements:
            if statement.is_header:
                self._section += 1
                table, stays = self._add_header(statement)
            elif table is not None:
                self._add_pair(statement, table, stays=stays)

    @property
    def number_of_readings(self) -> int:
        """In how many ways the text can be read, so that each statement is read in one."""
        return max(map(len, self._choices.values()), default=1)

    def render_tables(self, reading: int) -> str:
        """Return the text of one reading in an order that TOML takes."""
        return "\n".join(
            line
            for table, header in self._opening.items()
            for line in (header, *(self._choose(key, reading).text for key in self._members[table]))
        )

    def render_lines(self, reading: int) -> str:
        """Return the text of one reading, each statement in its line."""
        chosen = [self._choose(key, reading) for key in self._choices]
        lines: list[str] = []
        for statement in sorted((*self._headers, *chosen), key=lambda found: found.line):
            lines += [""] * (statement.line - 1 - len(lines))
            lines += statement.text.split("\n")
        return "\n".join(lines)

    def _choose(self, key: Key, reading: int) -> Statement:
        choices = self._choices[key]
        return choices[min(reading, len(choices) - 1)]

    def _add_header(self, statement: Statement) -> tuple[Key | None, bool]:
        """Return the table that begins, and whether what follows can stay."""
        if not statement.key:
            self.unread.append(statement.text)
            return None, False
        key: Key = ()
        for part in statement.key[:-1]:
            key = (*self._enter(key), part)
            if self._get(key, "implied", statement).kind == "value":
                if key not in self._refused:
                    self._clash(key, statement)
                return None, False
        key = (*self._enter(key), statement.key[-1])
        if statement.problem:
            self.full_keys[statement.line] = key
        name = self._names.get(key)
        if statement.is_array_header:
            return self._add_element(key, statement)
        if name and name.kind != "implied":
            self._clash(key, statement)
            if name.kind != "table":
                self._refused.add(key)
                return key, False
            self.lost.append((*key, UNREAD_KEY))  # it may be another table, with a wrong name
        else:
            self._names[key] = _Name("table", statement.line, self._section)
            self._open(key, statement)
        self._headers.append(statement)
        return key, True

    def _add_element(self, key: Key, statement: Statement) -> tuple[Key, bool]:
        name = self._get(key, "array", statement)
        if name.kind != "array":
            self._clash(key, statement)
            return key, False
        name.size += 1
        element = self._enter(key)
        self._names[element] = _Name("table", statement.line, self._section)
        self._open(element, statement)
        self._headers.append(statement)
        return element, True

    def _add_pair(self, statement: Statement, table: Key, *, stays: bool) -> None:
        if statement.is_comment:
            return
        full = (*table, *(statement.key or (UNREAD_KEY,)))
        if statement.problem:
            self.full_keys[statement.line] = full if statement.key else table
            if "\n" in statement.text:
                self.lost.append((*table, UNREAD_KEY))  # other keys may have gone with it
        if statement.problem or not stays:
            self.lost.append(full)
        if stays and statement.key and self._add_name(statement, table, full):
            self._choices.setdefault(full, []).append(statement)
            self._members[table].setdefault(full)

    def _add_name(self, statement: Statement, table: Key, full: Key) -> bool:
        """Note what a key makes of names, and tell whether its value can be read."""
        for length in range(len(table) + 1, len(full)):
            name = self._get(full[:length], "dotted", statement)
            if name.kind in {"value", "table", "array"}:
                self._clash(full[:length], statement)
                self.lost.append(full)
                return False
            name.kind = "dotted"
        found = self._names.get(full)
        if found and (found.kind != "value" or found.section == self._section):
            self._clash(full, statement)
        else:
            self._names[full] = _Name("value", statement.line, self._section)
        return not statement.problem and (not found or found.kind == "value")

    def _open(self, table: Key, statement: Statement) -> None:
        self._opening[table] = statement.text
        self._members[table] = {}

    def _enter(self, key: Key) -> Key:
        """Return the last table of an array of tables; any other key as it is."""
        name = self._names.get(key)
        return (*key, name.size - 1) if name and name.kind == "array" else key

    def _get(self, key: Key, kind: str, statement: Statement) -> _Name:
        return self._names.setdefault(key, _Name(kind, statement.line, self._section))

    def _clash(self, key: Key, statement: Statement) -> None:
        self.clashes.append(Clash(key, self._names[key].line, statement.line))
