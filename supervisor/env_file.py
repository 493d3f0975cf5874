r"""Files of variables for jobs, as docker compose and systemd have them.

    # a comment
    export NAME=value           the word export may be there; spaces at the end do not count
    NAME = value # a comment    one behind a value has a space before it
    NAME='as it is, $ and \n'   single quotes: nothing in it is special
    NAME="a\tb \"quoted\""      double quotes: \n, \r, \t, \\, \", \$ and \` as in C and the shell
    NAME="two
    lines"                      what is quoted may go on in the next line
    NAME                        from the caller's environment, if it is there

`mocker run --env-file` reads docker run's files, in which quotes are part of the value.

Source: systemd.exec(5), EnvironmentFile=; the compose specification, "Env_file format".
"""

import re
from collections.abc import Iterator, Mapping

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$", "`": "`", "\n": ""}
_BLANK = re.compile(r"(?:[ \t]*(?:[#;][^\n]*)?\n)*[ \t]*(?:[#;][^\n]*)?")
_NAME = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(=?)[ \t]*")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
_UNQUOTED = re.compile(r"((?:[^\n#]|(?<!\s)#)*)")
_LINE_END = re.compile(r"[ \t]*(?:(?<=\s)#[^\n]*)?(?:\n|\Z)")
_MAX_SHOWN = 60  # characters of a line that is not understood


def parse_env_file(text: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a file; of two with one name the last.

    Args:
        text: What the file says.
        environment: The caller's, for names without a value.

    Raises:
        ValueError: A line is none of the above: "LINE: TEXT".
    """
    variables = {}
    for name, value in _read_assignments(text.replace("\r\n", "\n")):
        if value is not None:
            variables[name] = value
        elif name in environment:
            variables[name] = environment[name]
    return variables


def _read_assignments(text: str) -> Iterator[tuple[str, str | None]]:
    position = _skip_blank(text, 0)
    while position < len(text):
        start = position
        name = _NAME.match(text, position)
        if name is None:
            raise _complain(text, start, "must be NAME=VALUE")
        value = None
        position = name.end()
        if name[2]:
            value, position = _read_value(text, position)
        end = _LINE_END.match(text, position)
        if end is None:
            raise _complain(text, start, "must be NAME=VALUE, and what has spaces in quotes")
        if value is not None and "\0" in value:
            raise _complain(text, start, "must not contain a NUL byte")
        yield name[1], value
        position = _skip_blank(text, end.end())


def _read_value(text: str, position: int) -> tuple[str, int]:
    """Return the value that begins at a position, and where it ends."""
    if text.startswith("'", position):
        match = _SINGLE.match(text, position)
        if match:
            return match[1], match.end()
    elif text.startswith('"', position):
        match = _DOUBLE.match(text, position)
        if match:
            return re.sub(r"(?s)\\(.)", _replace_escape, match[1]), match.end()
    else:
        match = _UNQUOTED.match(text, position)
        if match:
            return match[1].rstrip(), match.end()
    raise _complain(text, position, "must have a second quote")


def _replace_escape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[0])  # any other backslash stays, as in the shell


def _skip_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _complain(text: str, position: int, what: str) -> ValueError:
    line = text.count("\n", 0, position) + 1
    shown = text[position:].partition("\n")[0][:_MAX_SHOWN]
    return ValueError(f"{line}: {what}, not {shown!r}")
