"""Read the file that says what to keep running: TOML to a `SupervisorConfig`.

Strict: what is not understood is a mistake, and all mistakes of a file are told in one go, each
with its line. Only what is no TOML at all hides what comes behind it.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from .config import JobConfig, SupervisorConfig
from .errors import ConfigError
from .interpolation import expand_all
from .job_entries import Entry, read_entry
from .job_references import resolve_references
from .mistakes import Mistakes, Place, ToldError, make_printable
from .text_file import read_text_file
from .toml_lines import Key
from .values import (
    Parse,
    check_table,
    one_of,
    parse_duration_value,
    parse_name,
    table_of,
)

_SUPERVISOR: dict[str, Parse] = {
    "name": parse_name,
    "stop_timeout": parse_duration_value,
    "log_format": one_of("auto", "console", "journald", "json", "prefix"),
    "log_level": one_of("debug", "info", "warning", "error"),
}
# tomllib takes memory and time with the square of the parts: at 100,000 of them, many gigabytes.
_LONG_KEY = re.compile(
    r"""(?:^|[\[{,])[ \t]*(?:(?:[\w-]+|"[^".\n]*"|'[^'.\n]*')[ \t]*\.[ \t]*){100}""", re.MULTILINE
)
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TWICE = re.compile(r"Cannot declare \((?P<key>.*?)\) twice \(at line (?P<line>\d+)")
_MAX_TWICE = 100
_SECOND = "second-of-a-name"
_TOO_DEEP = "cannot be read: it is nested too deeply"
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


def load_config(path: str, env: Mapping[str, str]) -> SupervisorConfig:
    """Return what a file says.

    Args:
        path: Of the file; mistakes are told with it as it is.
        env: The caller's environment, for variables.

    Raises:
        ConfigError: It cannot be read, or has mistakes.
    """
    config, mistakes = read_config(path, env)
    if mistakes:
        raise ConfigError(mistakes.render())
    return config


def read_config(path: str, env: Mapping[str, str]) -> tuple[SupervisorConfig, Mistakes]:
    """Return what a file says, without the jobs that have mistakes, and the mistakes.

    Raises:
        ConfigError: It cannot be read, or is not TOML.
    """
    try:
        text = read_text_file(path)
    except ValueError as error:
        raise ConfigError([f"{make_printable(path)}: {error}"]) from None
    tables, mistakes = _parse_toml(path, text)
    try:
        return _read_tables(tables, mistakes, env), mistakes
    except RecursionError:
        raise ConfigError([f"{make_printable(path)}: {_TOO_DEEP}"]) from None


def _read_tables(
    tables: Mapping[str, Any], mistakes: Mistakes, env: Mapping[str, str]
) -> SupervisorConfig:
    top = Place(mistakes, ())
    values: dict[str, Any] = {}
    try:
        table_of({"supervisor": _keep, "defaults": _keep, "jobs": _keep})(dict(tables), top)
    except ToldError:
        pass  # the tables that are known are read nevertheless
    try:
        supervisor = expand_all(tables.get("supervisor", {}), env, top.at("supervisor"))
        values = _read_supervisor({"supervisor": supervisor}, top)
    except ToldError:
        pass
    jobs = _read_jobs(tables, mistakes, env)
    stem = _NO_NAME.sub("-", os.path.splitext(os.path.basename(mistakes.path))[0])
    name = values.pop("name", stem.lstrip("-._")[:60] or "mocker")
    return SupervisorConfig(path=os.path.abspath(mistakes.path), name=name, jobs=jobs, **values)


def _read_supervisor(tables: dict[str, Any], top: Place) -> dict[str, Any]:
    read: dict[str, Any] = table_of({"supervisor": table_of(_SUPERVISOR)})(tables, top)
    return dict(read["supervisor"])


def _read_jobs(
    tables: Mapping[str, Any], mistakes: Mistakes, env: Mapping[str, str]
) -> dict[str, JobConfig]:
    top = Place(mistakes, ())
    found = {}
    for key in ("defaults", "jobs"):
        try:
            found[key] = check_table(tables.get(key, {}))
        except ValueError as error:
            top.at(key).refuse(str(error))
            found[key] = {}
    if not found["jobs"] and isinstance(tables.get("jobs", {}), dict):
        top.refuse("there are no jobs; each is a table such as [jobs.web] with a command")
    entries: dict[str, tuple[JobConfig, ...]] = {}
    complete: dict[str, bool] = {}
    for name, own in found["jobs"].items():
        place = top.at("jobs", name)
        try:
            parse_name(name, place)
            entry = Entry(
                name=name,
                own=check_table(own),
                defaults=found["defaults"],
                mistakes=mistakes,
                environment=env,
            )
        except ValueError as error:
            place.refuse(str(error))
            continue
        entries[name], complete[name] = read_entry(entry)
    jobs = resolve_references(entries, frozenset(found["jobs"]), mistakes)
    return {name: job for name, job in jobs.items() if complete[job.group]}


def _keep(value: object, _: Place) -> object:
    return value


def _parse_toml(path: str, text: str) -> tuple[dict[str, Any], Mistakes]:
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
        raise ConfigError([make_printable(f"{path}: {_TOO_DEEP}")]) from None
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
