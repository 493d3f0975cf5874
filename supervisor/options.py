"""Options on a command line: a table of them, read from words, rendered as help.

By hand and not with argparse: loading that and filling it costs 10 ms, a third of what a whole
container does. Conventions are those of getopt_long(3): `--name value`, `--name=value`, `-n value`,
`-nvalue`, flags run together as in `-it`, `--` ends the options; so does the first other word.
"""

from _collections_abc import Iterable, Mapping, Sequence

from mocker.isolation import SpecError

_HELP_COLUMN = 28
_HELP_WIDTH = 96


class Option:
    """One option of a command.

    Attributes:
        names: Its spellings, such as ("-v", "--volume"); the last names it in a `Parsed`.
        metavar: What its value is, in capitals; empty for a flag.
        help: What it does, in one sentence without a full stop.
    """

    __slots__ = ("help", "metavar", "names")

    def __init__(self, names: str, metavar: str, text: str) -> None:
        self.names = tuple(names.split())
        self.metavar, self.help = metavar, text


class Parsed:
    """What a command line says.

    Attributes:
        words: Those after the options.
    """

    __slots__ = ("_values", "words")

    def __init__(self, values: dict[str, list[str]], words: Sequence[str]) -> None:
        self._values, self.words = values, tuple(words)

    def all(self, name: str) -> list[str]:
        """Return the values of an option in the order in which they were given."""
        return self._values.get(name, [])

    def last(self, name: str, default: str) -> str:
        """Return the value that was given last, or the default."""
        return self._values.get(name, [default])[-1]

    def maybe(self, name: str) -> str | None:
        """Return the value that was given last, or None."""
        return self._values.get(name, [None])[-1]

    def has(self, name: str) -> bool:
        """Tell whether an option was given."""
        return name in self._values


def parse_options(
    words: Sequence[str],
    options: Iterable[Option],
    command: str = "run",
    elsewhere: Mapping[str, str] | None = None,
) -> Parsed:
    """Read the options at the start of a command line.

    Args:
        words: The line.
        options: Those that there are.
        command: Whose they are.
        elsewhere: What to do instead of options that people know from other programs.

    Raises:
        SpecError: An option is unknown, lacks its value, or has one that it does not take.
    """
    by_name = {name: option for option in options for name in option.names}
    values: dict[str, list[str]] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, value = _split(word, by_name)
        option = by_name.get(name)
        if option is None:
            hint = (elsewhere or {}).get(name)
            more = f"; {hint}" if hint else _suggest(name, by_name, command)
            raise SpecError(f"unknown option {name!r}{more}")
        if not option.metavar:
            if value is not None and word.startswith("--"):
                raise SpecError(f"{name} takes no value, not {value!r}")
            if value and value.startswith("-"):
                raise SpecError(f"unknown option '-' in {word!r}")
            if value:
                rest.insert(0, f"-{value}")  # flags run together
            value = ""
        elif value is None:
            if not rest:
                raise SpecError(f"{name} needs a value, {option.metavar}")
            value = rest.pop(0)
        values.setdefault(option.names[-1], []).append(value or "")
    return Parsed(values, rest)


def render_options(options: Iterable[Option]) -> str:
    """Return the options as --help shows them, in the order of the table."""
    lines = []
    for option in options:
        names = ", ".join(option.names)
        head = f"  {names} {option.metavar}".rstrip()
        if len(head) >= _HELP_COLUMN:
            lines.append(head)
            head = ""
        for text in _wrap(option.help, _HELP_WIDTH - _HELP_COLUMN):
            lines.append(f"{head:{_HELP_COLUMN}}{text}")
            head = ""
    return "\n".join(lines)


def _split(word: str, by_name: dict[str, Option]) -> tuple[str, str | None]:
    """Split a word into the option and what is written together with it."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return name, value if equals else None
    name, value = word[:2], word[2:]
    if name in by_name and by_name[name].metavar:
        return name, value.removeprefix("=") if value else None
    return name, value or None


def _suggest(name: str, by_name: dict[str, Option], command: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, by_name, 1, 0.75)
    near = near or [known for known in by_name if name.startswith(f"{known}-")]  # --log-driver
    return f"; did you mean {near[0]!r}?" if near else f"; see 'mocker {command} --help'"


def _wrap(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width)
