"""Read the file that says what to keep running: TOML to a `SupervisorConfig`.

Strict: what is not understood is a mistake, and all mistakes of a file are told in one go, each
with its line. What is no TOML, or there twice, hides nothing else, and what is missing only
because of that is not told.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

from .config import JobConfig, SupervisorConfig
from .control_keys import parse_control
from .errors import ConfigError
from .interpolation import expand_all
from .job_entries import Entry, read_entry
from .job_references import resolve_references
from .mistakes import LOST, UNREAD_KEY, MistakeError, Mistakes, Place, ToldError
from .sink_keys import check_files
from .stderr import make_printable
from .text_file import read_text_file
from .toml_text import TOO_DEEP, read_toml
from .values import (
    Parse,
    check_table,
    one_of,
    parse_duration_value,
    parse_name,
    parse_path,
    table_of,
)

_LONGEST_SOCKET = 107  # bytes; unix(7)


def _parse_socket(value: object, place: Place) -> str:
    path = parse_path(value, place)
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise MistakeError(f"must be a path of at most {_LONGEST_SOCKET} bytes, not {path!r}")
    return path


_SUPERVISOR: dict[str, Parse] = {
    "name": parse_name,
    "stop_timeout": parse_duration_value,
    "log_format": one_of("auto", "console", "journald", "json", "prefix"),
    "log_level": one_of("debug", "info", "warning", "error"),
    "journald_socket": _parse_socket,
}
_TABLES: dict[str, Parse] = {"supervisor": table_of(_SUPERVISOR), "control": parse_control}
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
        ConfigError: It cannot be read.
    """
    try:
        text = read_text_file(path, keep_bytes=True)
    except ValueError as error:
        raise ConfigError([f"{make_printable(path)}: {error}"]) from None
    readings, mistakes = read_toml(path, text)
    try:
        for reading in readings[1:]:
            mistakes.read_as(reading.text)
            _read_tables(reading.tables, mistakes, env)
        mistakes.read_as(readings[0].text)
        return _read_tables(readings[0].tables, mistakes, env), mistakes
    except RecursionError:
        raise ConfigError([f"{make_printable(path)}: {TOO_DEEP}"]) from None


def _read_tables(
    tables: Mapping[str, Any], mistakes: Mistakes, env: Mapping[str, str]
) -> SupervisorConfig:
    top = Place(mistakes, ())
    values: dict[str, Any] = {}
    try:
        table_of({**dict.fromkeys(_TABLES, _keep), "defaults": _keep, "jobs": _keep})(tables, top)
    except ToldError:
        pass  # the tables that are known are read nevertheless
    for name, parse in _TABLES.items():
        try:
            table = expand_all(tables.get(name, {}), env, top.at(name))
            values |= table_of({name: parse})({name: table}, top)
        except ToldError:
            pass
    values |= values.pop("supervisor", {})
    jobs = _read_jobs(tables, mistakes, env)
    stem = _NO_NAME.sub("-", os.path.splitext(os.path.basename(mistakes.path))[0])
    name = values.pop("name", stem.lstrip("-._")[:60] or "mocker")
    return SupervisorConfig(path=os.path.abspath(mistakes.path), name=name, jobs=jobs, **values)


def _read_jobs(
    tables: Mapping[str, Any], mistakes: Mistakes, env: Mapping[str, str]
) -> dict[str, JobConfig]:
    top = Place(mistakes, ())
    found = {}
    for key in ("defaults", "jobs"):
        try:
            found[key] = check_table(tables.get(key, {}))
        except ToldError:
            found[key] = {UNREAD_KEY: LOST}
        except ValueError as error:
            top.at(key).refuse(str(error))
            found[key] = {}
    if mistakes.may_have("defaults"):
        found["defaults"] = {**found["defaults"], UNREAD_KEY: LOST}
    all_read = not mistakes.unread and LOST not in tables.values()
    if not found["jobs"] and isinstance(tables.get("jobs", {}), dict) and all_read:
        top.refuse("there are no jobs; each is a table such as [jobs.web] with a command")
    entries: dict[str, tuple[JobConfig, ...]] = {}
    complete: dict[str, bool] = {}
    for name, own in found["jobs"].items():
        if own is LOST:
            continue
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
    check_files(jobs.values(), mistakes)
    return {name: job for name, job in jobs.items() if complete[job.group]}


def _keep(value: object, _: Place) -> object:
    return value
