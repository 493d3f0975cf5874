"""Which values a key of a file takes: one function for each type, and those that make tables.

A parser gets what TOML says, and its place in the file. It returns a value that cannot be wrong, or
raises MistakeError, or any ValueError with such words. One that has told of all mistakes inside the
value itself raises ToldError. TOML's types are kept apart: true is no number, "2" is none either.
Only text that a variable took part in may stand for both.
"""

import re
import shlex
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

from mocker.isolation import ContainerSpec, SpecError

from .interpolation import Expanded
from .mistakes import LOST, MistakeError, Place, ToldError, render_value, suggest
from .quantities import MAX_SECONDS, parse_duration, parse_size

Parse = Callable[[Any, Place], Any]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")  # a host name, a file name, a word in a log
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?")


def parse_text(value: object, _: Place) -> str:
    """Return text that a C string can hold."""
    if not isinstance(value, str):
        raise MistakeError(f"must be text, not {render_value(value)}")
    if "\0" in value:
        raise MistakeError(f"must not contain a NUL byte, as {render_value(value)} does")
    return str(value)  # no longer Expanded


def parse_path(value: object, place: Place) -> str:
    """Return an absolute path of the host."""
    text = parse_text(value, place)
    if not text:
        raise MistakeError("must be a path, not ''")
    return place.make_absolute(text)


def parse_boolean(value: object, _: Place) -> bool:
    """Return true or false."""
    if isinstance(value, Expanded) and value in {"true", "false"}:
        return value == "true"
    if not isinstance(value, bool):
        raise MistakeError(f"must be true or false, not {render_value(value)}")
    return value


def parse_duration_value(value: object, _: Place) -> float:
    """Return seconds, of a number or of text with a unit."""
    if isinstance(value, str):
        return parse_duration(str(value))
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        shown = render_value(value)
        raise MistakeError(f"must be a duration such as '500ms', '10s' or '2m', not {shown}")
    if value > MAX_SECONDS:
        raise MistakeError(f"must be at most ten years, not {render_value(value)}")
    return float(value)


def parse_positive_duration(value: object, place: Place) -> float:
    """Return seconds, more than none."""
    seconds = parse_duration_value(value, place)
    if not seconds:
        raise MistakeError("must be longer than 0")
    return seconds


def size(minimum: int, maximum: int) -> Parse:
    """Return the parser of a number of bytes in a range, or of text with a unit."""

    def parse(value: object, place: Place) -> int:
        if isinstance(value, str):
            value = parse_size(str(value))
        return int(whole(minimum, maximum)(value, place))

    return parse


def parse_name(value: object, place: Place) -> str:
    """Return the name of a job, or of the supervisor."""
    text = parse_text(value, place)
    if not _NAME.fullmatch(text):
        raise MistakeError(
            "must be 1 to 63 letters, digits, '-', '_' and '.', a letter or digit first, "
            f"not {render_value(text)}"
        )
    return text


def parse_command(value: object, place: Place) -> tuple[str, ...]:
    """Return the words of an array, or of text, split as a shell does."""
    if isinstance(value, str):
        try:
            words = tuple(shlex.split(parse_text(value, place)))
        except ValueError as error:
            reason = str(error).lower()
            raise MistakeError(f"must be words as in a shell, and has {reason}") from None
    elif isinstance(value, list):
        words = each_of(parse_text)(value, place)
    else:
        raise MistakeError(f"must be text or an array of words, not {render_value(value)}")
    if not words or not words[0]:
        raise MistakeError("must name a command")
    return words


def parse_regex(value: object, place: Place) -> str:
    """Return a regular expression of Python's, which `regex` searches for, see `notices`.

    What only `regex` takes, such as a call of itself, is none. The two differ in what they take
    both: `{e}` behind something and `[[:alpha:]]` mean more there than their characters.
    """
    import regex  # few files have any

    text = parse_text(value, place)
    try:
        with warnings.catch_warnings():  # `[[` may mean a set in a set one day
            warnings.simplefilter("ignore", FutureWarning)
            re.compile(text)
        regex.compile(text)
    except (re.error, regex.error, OverflowError, RecursionError) as error:
        raise MistakeError(f"must be a regular expression: {error}") from None
    return text


def whole(minimum: int, maximum: int) -> Parse:
    """Return the parser of a whole number in a range."""

    def parse(value: object, _: Place) -> int:
        number = _find_number(value)
        if not isinstance(number, int) or not minimum <= number <= maximum:
            shown = render_value(value)
            raise MistakeError(f"must be a whole number from {minimum} to {maximum}, not {shown}")
        return number

    return parse


def number(minimum: float, maximum: float) -> Parse:
    """Return the parser of a number in a range."""

    def parse(value: object, _: Place) -> float:
        found = _find_number(value)
        if found is None or not minimum <= found <= maximum:
            shown = render_value(value)
            raise MistakeError(f"must be a number from {minimum:g} to {maximum:g}, not {shown}")
        return float(found)

    return parse


def one_of(*words: str) -> Parse:
    """Return the parser of a word out of a few."""

    def parse(value: object, _: Place) -> str:
        if not isinstance(value, str) or value not in words:
            near = suggest(value, words) if isinstance(value, str) else ""
            listed = ", ".join(map(repr, words))
            raise MistakeError(f"must be one of {listed}, not {render_value(value)}{near}")
        return str(value)

    return parse


def each_of(parse_element: Parse) -> Parse:
    """Return the parser of an array whose elements are all alike."""

    def parse(value: object, place: Place) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise MistakeError(f"must be an array, not {render_value(value)}")
        parsers = dict.fromkeys(range(len(value)), parse_element)
        return tuple(_parse_items(dict(enumerate(value)), parsers, place).values())

    return parse


def one_or_each_of(parse_element: Parse) -> Parse:
    """Return the parser of an array, or of its only element alone."""

    def parse(value: object, place: Place) -> tuple[Any, ...]:
        if isinstance(value, list):
            return tuple(each_of(parse_element)(value, place))
        return (parse_element(value, place),)

    return parse


def table_of(keys: Mapping[str, Parse]) -> Parse:
    """Return the parser of a table with these keys, each of which may be missing."""

    def parse(value: object, place: Place) -> dict[str, Any]:
        return _parse_items(check_table(value), keys, place)

    return parse


def map_of(parse_value: Parse) -> Parse:
    """Return the parser of a table with any keys and values that are all alike."""

    def parse(value: object, place: Place) -> dict[str, Any]:
        table = check_table(value)
        return _parse_items(table, dict.fromkeys(table, parse_value), place)

    return parse


def spec_field(field: str, parse: Parse) -> Parse:
    """Return a parser that asks a container's spec as well whether the value can be meant."""

    def parse_field(value: object, place: Place) -> Any:  # noqa: ANN401 - what TOML has
        parsed = parse(value, place)
        check_spec(**{field: parsed})
        return parsed

    return parse_field


def check_spec(**fields: Any) -> None:  # noqa: ANN401 - what TOML has
    """Raise ValueError if no container can have these fields, all others as they are at first."""
    try:
        ContainerSpec(["true"], **fields)
    except SpecError as error:
        raise MistakeError(str(error)) from None


def check_table(value: object) -> dict[str, Any]:
    """Return a table, or raise ValueError; ToldError for one that is lost."""
    if value is LOST:
        raise ToldError
    if not isinstance(value, dict):
        raise MistakeError(f"must be a table, not {render_value(value)}")
    return value


def require(table: Collection[str], *keys: str) -> None:
    """Raise ValueError unless a table has all of these keys."""
    missing = [key for key in keys if key not in table]
    if missing:
        raise MistakeError(f"needs {' and '.join(missing)}")


def _parse_items(
    items: Mapping[Any, Any], parsers: Mapping[Any, Parse], place: Place
) -> dict[Any, Any]:
    """Return what the parsers make of the items; tell of each that cannot be meant."""
    parsed, told = {}, False
    for key, item in items.items():
        try:
            if item is LOST:
                raise ToldError  # noqa: TRY301 - as any value with mistakes
            parse = parsers.get(key) or _refuse_key(parsers)
            parsed[key] = parse(item, place.at(key))
        except ToldError:
            told = True
        except ValueError as error:
            place.at(key).refuse(str(error))
            told = True
    if told:
        raise ToldError
    return parsed


def _refuse_key(known: Mapping[Any, Parse]) -> Parse:
    def parse(_: object, place: Place) -> None:
        near = suggest(str(place.key[-1]), map(str, known))
        raise MistakeError(f"unknown key{near}")

    return parse


def _find_number(value: object) -> int | float | None:
    """Return a number of the file, or one that a variable stands for."""
    if isinstance(value, Expanded) and _NUMBER.fullmatch(value):
        return float(value) if "." in value else int(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
