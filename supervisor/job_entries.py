"""One entry of a file, `[jobs.NAME]`, with `[defaults]` for what it does not say: its replicas.

A value of the entry takes the place of the default as a whole; only the variables of both `env` are
put together. `depends_on` still has the names of the file: see `job_references`.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from mocker.isolation import SpecError

from .config import JobConfig
from .container_keys import ARE_FOR_THE_HOST, NEED_ISOLATION, make_container
from .env_file import parse_env_file
from .interpolation import expand_all
from .job_keys import FIELD_KEYS, JOB_KEYS
from .mistakes import UNREAD_KEY, Mistakes, Place, ToldError, find_job_place
from .sink_keys import find_sink_conflicts, make_sinks
from .text_file import read_text_file
from .values import table_of

_SUCCESS = frozenset({0})
_UNKNOWN = ("?",)  # the command of a job with mistakes, which is never run
_REFERRING = ("depends_on", "network", "replicas", "isolate")


@attrs.frozen(kw_only=True)
class Entry:
    """What a file says of a job.

    Attributes:
        name: Of the table.
        own: What the table has.
        defaults: What `[defaults]` has.
        mistakes: Of the file.
        environment: The caller's, for variables.
    """

    name: str
    own: Mapping[str, Any]
    defaults: Mapping[str, Any]
    mistakes: Mistakes
    environment: Mapping[str, str]


class _Known(Mapping[str, str]):
    """Variables of which some could not be read, so that no other one can be said to be missing."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> str:
        if name not in self._variables:
            raise ToldError
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def read_entry(entry: Entry) -> tuple[tuple[JobConfig, ...], bool]:
    """Return the replicas of a job, and whether they are complete.

    Those of a job with mistakes, all of which were noted, have just what other jobs may refer to,
    and to whom they refer themselves.
    """
    from_files, told = _read_env_files(entry)
    variables = {**from_files, **entry.environment}
    known = _Known(variables) if told else variables
    own = Place(entry.mistakes, ("jobs", entry.name))
    values: dict[str, Any] = {"env": from_files}
    for table, place in ((entry.defaults, Place(entry.mistakes, ("defaults",))), (entry.own, own)):
        for key, value in table.items():
            try:
                found = _read_key(key, value, known, place)
            except ToldError:
                told = True
            else:
                values[key] = values["env"] | found if key == "env" else found
    if "replicas" in {**entry.defaults, **entry.own} and "replicas" not in values:
        entry.mistakes.unnumbered.add(entry.name)
    for key, text in _find_conflicts(entry, values):
        (find_job_place(entry.mistakes, entry.name, key) if key else own).refuse(text)
        told = True
    if told or "command" not in values:
        told = True  # and so has been what stands in the way of a command
        values = {"command": _UNKNOWN} | {key: values[key] for key in _REFERRING if key in values}
    jobs = _make_replicas(entry, values)
    try:
        jobs[-1].make_spec()  # whose host name is the longest
    except SpecError as error:
        own.refuse(str(error))
        told = True
    return jobs, not told


def _read_key(key: str, value: object, variables: Mapping[str, str], place: Place) -> Any:  # noqa: ANN401
    """Return what a key of a job means."""
    expanded = expand_all(value, variables, place.at(key)) if key in JOB_KEYS else value
    return table_of(JOB_KEYS)({key: expanded}, place)[key]


def _read_env_files(entry: Entry) -> tuple[dict[str, str], bool]:
    """Return the variables of its files, and whether there were mistakes, which were noted then."""
    value = {**entry.defaults, **entry.own}.get("env_file")
    if value is None:
        return {}, False
    table = ("jobs", entry.name) if "env_file" in entry.own else ("defaults",)
    place = Place(entry.mistakes, table)
    variables: dict[str, str] = {}
    told = False
    try:
        paths = _read_key("env_file", value, entry.environment, place)
    except ToldError:
        return {}, True
    for path in paths:
        try:
            variables |= _read_env_file(path, entry)
        except ValueError as error:
            place.at("env_file").refuse(str(error))
            told = True
    return variables, told


def _read_env_file(path: str, entry: Entry) -> dict[str, str]:
    name = os.path.relpath(path, entry.mistakes.directory)
    try:
        text = read_text_file(path)
    except ValueError as error:
        raise ValueError(f"{name!r} {error}") from None
    try:
        return parse_env_file(text, entry.environment)
    except ValueError as error:
        raise ValueError(f"{name}:{error}") from None


def _find_conflicts(entry: Entry, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (key, sentence) of each, the key empty where one is missing."""
    given = {**entry.defaults, **entry.own}
    if UNREAD_KEY in given:
        return  # it may be just what is missing, or makes all the difference
    if "command" not in given and not entry.mistakes.may_have(entry.name):
        yield "", "needs a command"
    kind = _find_kind(values)
    if kind == "service" and "schedule" in values:
        yield "schedule", "is for a oneshot; make the type 'oneshot', or leave it out"
    for key in ("overlap", "run_on_start"):
        if key in entry.own and "schedule" not in given:
            yield key, "needs a schedule"
    if kind == "oneshot" and entry.own.get("restart") == "always":
        yield "restart", "must be 'on-failure' or 'never' for a oneshot, not 'always'"
    if entry.own.get("critical") is True and "schedule" in values:
        yield "critical", "is not for a job with a schedule, which never ends for good"
    codes = values.get("success_codes", _SUCCESS) & values.get("permanent_codes", frozenset())
    if codes:
        listed = ", ".join(map(str, sorted(codes)))
        yield "permanent_codes", f"must not have success codes, and has {listed}"
    yield from _find_misplaced_keys(entry, values)
    yield from _find_terminal_conflicts(values)
    yield from find_sink_conflicts(entry.own, entry.defaults, values)


def _find_misplaced_keys(entry: Entry, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find what the job says itself, and its kind of process can't have."""
    if values.get("isolate", True):
        for key in ARE_FOR_THE_HOST:
            if key in entry.own and values.get(key) is not False:
                yield key, "is for isolate = false; a container has read_only and volumes for that"
        return
    for key in NEED_ISOLATION:
        if key in entry.own and values.get(key, "host") != "host":
            yield key, "is not to be had with isolate = false"
    if "writable" in entry.own and not values.get("landlock"):
        yield "writable", "needs landlock = true"


def _find_terminal_conflicts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not values.get("tty"):
        return
    if not values.get("isolate", True):
        yield "tty", "is not to be had with isolate = false"
    if "stdin" in values:
        yield "stdin", "is not to be had with tty = true: the terminal is its stdin"


def _make_replicas(entry: Entry, values: Mapping[str, Any]) -> tuple[JobConfig, ...]:
    # Numbered even if it is one, so that a reload with another number keeps those that stay.
    count = values.get("replicas")
    names = [entry.name] if count is None else [f"{entry.name}-{n}" for n in range(1, count + 1)]
    kind = _find_kind(values)
    fields = {key: values[key] for key in FIELD_KEYS if key in values}
    fields |= make_sinks(values, entry.own)
    if kind == "oneshot" and "restart" not in entry.own:
        fields["restart"] = "never"
    return tuple(
        JobConfig(
            name=name,
            group=entry.name,
            kind=kind,
            container=make_container(values, default_hostname=name),
            **fields,
        )
        for name in names
    )


def _find_kind(values: Mapping[str, Any]) -> str:
    return str(values.get("type", "oneshot" if "schedule" in values else "service"))
