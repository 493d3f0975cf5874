r"""Variables in the strings of a file: ${NAME}, ${NAME:-default}, and $$ for a dollar sign.

A `$` before anything else stands for itself, so `sh -c 'echo $HOME'` is the shell's business. What
a shell understands inside of `${…}` beyond these two is a mistake rather than left alone: who
writes `${x%y}` would otherwise not learn that it takes a second dollar sign.

Source: the shell's Parameter Expansion (POSIX); `docker compose config` takes these forms as well.
"""

import re
from collections.abc import Mapping

from .mistakes import Place, ToldError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DOLLAR = re.compile(r"\$(?:\$|\{(?P<inside>[^}]*\}?))")


class Expanded(str):
    """Text that a variable took part in, and which therefore may stand for a number as well."""

    __slots__ = ()


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Return the text with its variables replaced, as `Expanded` if there were any.

    An empty variable is defined, but takes the default where there is one, as in the shell.

    Raises:
        ValueError: A variable is undefined and has no default, or is written in another way.
    """
    if "$" not in text:
        return text
    expanded = _DOLLAR.sub(lambda match: _replace(match, variables), text)
    return Expanded(expanded) if "${" in text else expanded


def expand_all(value: object, variables: Mapping[str, str], place: Place) -> object:
    """Return a value of TOML with the variables of each string in it replaced, but not of keys.

    Raises:
        ToldError: A string cannot be expanded; all such ones were noted at their places.
    """
    match value:
        case str():
            try:
                return expand(value, variables)
            except ToldError:
                raise
            except ValueError as error:
                place.refuse(str(error))
                raise ToldError from None
        case list():
            pairs = _expand_items(list(enumerate(value)), variables, place)
            return list(pairs.values())
        case dict():
            return _expand_items(list(value.items()), variables, place)
        case _:
            return value


def _expand_items(
    items: list[tuple[str | int, object]], variables: Mapping[str, str], place: Place
) -> dict[str | int, object]:
    expanded, told = {}, False
    for key, item in items:
        try:
            expanded[key] = expand_all(item, variables, place.at(key))
        except ToldError:
            told = True
    if told:
        raise ToldError
    return expanded


def _replace(match: re.Match[str], variables: Mapping[str, str]) -> str:
    inside = match["inside"]
    if inside is None:
        return "$"
    name, colon, default = inside.removesuffix("}").partition(":-")
    if not inside.endswith("}") or not _NAME.fullmatch(name) or "{" in default:
        raise ValueError(
            f"must have variables as ${{NAME}} or ${{NAME:-default}}, not {match[0]!r}; "
            "'$$' stands for a '$'"
        )
    value = variables.get(name)
    if value or (value is not None and not colon):
        return value
    if colon:
        return default
    raise ValueError(f"variable {name} is not defined; ${{{name}:-…}} gives it a default")
