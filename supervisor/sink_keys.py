"""The keys of a job that say where its output goes: its sinks, and what becomes of lines there."""

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .config import CONSOLE, INHERIT, JobConfig, Probe, SinkConfig
from .mistakes import MistakeError, Mistakes, Place, find_job_place, render_value, suggest
from .sink_words import FILE_FORMATS, MOST_BACKUPS, MOST_BYTES
from .values import (
    Parse,
    one_of,
    one_or_each_of,
    parse_boolean,
    parse_path,
    require,
    size,
    table_of,
    whole,
)

_WORDS = {
    "console": CONSOLE,
    "journald": SinkConfig(kind="journald"),
    "null": None,
    "inherit": INHERIT,
}
_ALONE = (None, INHERIT)
_SHORTEST_LINE, _LONGEST_LINE = 80, 2**20  # bytes; a terminal's, and what is read at a time

_FILE = table_of(
    {
        "file": parse_path,
        "format": one_of(*FILE_FORMATS),
        "max_size": size(0, MOST_BYTES),
        "backups": whole(0, MOST_BACKUPS),
        "compress": parse_boolean,
    }
)


def _parse_sink(value: object, place: Place) -> SinkConfig | None:
    if isinstance(value, dict):
        fields: dict[str, Any] = _FILE(value, place)
        require(fields, "file")
        return SinkConfig(kind="file", path=fields.pop("file"), **fields)
    if not isinstance(value, str) or value not in _WORDS:
        near = suggest(value, _WORDS) if isinstance(value, str) else ""
        listed = ", ".join(map(repr, _WORDS))
        shown = render_value(value)
        raise MistakeError(f"must be {listed}, or {{ file = … }}, not {shown}{near}")
    return _WORDS[value]


_ONE_OR_MORE = one_or_each_of(_parse_sink)


def _parse_sinks(value: object, place: Place) -> tuple[SinkConfig, ...]:
    sinks = _ONE_OR_MORE(value, place)
    if not sinks:
        raise MistakeError("must have a sink; 'null' is for none")
    for sink in _ALONE:
        if sink in sinks and len(sinks) > 1:
            raise MistakeError(f"must have {'null' if sink is None else 'inherit'!r} alone")
    found = tuple(sink for sink in sinks if sink is not None)
    places = [sink.path or sink.kind for sink in found]
    for twice in {place for place in places if places.count(place) > 1}:
        raise MistakeError(f"must not have {os.path.basename(twice)!r} twice")
    return found


_CHANNEL_KEYS: dict[str, Parse] = {
    "stdout": _parse_sinks,
    "stderr": _parse_sinks,
    "output": _parse_sinks,
}
SINK_KEYS: dict[str, Parse] = {
    **_CHANNEL_KEYS,
    "on_full": one_of("block", "drop"),
    "max_line": size(_SHORTEST_LINE, _LONGEST_LINE),
}


def make_sinks(values: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a job that say where its output goes.

    Args:
        values: What the parsers above returned, for a job and its defaults.
        own: What the job itself has; its `output` takes the place of both defaults, and either of
            the two that of a default `output`.
    """
    fields: dict[str, Any] = {k: values[k] for k in ("on_full", "max_line") if k in values}
    has_own_two = "stdout" in own or "stderr" in own
    if values.get("tty"):
        shared = values.get("output", values.get("stdout", (CONSOLE,)))
        fields["channels"] = {"output": shared}
    elif "output" in values and ("output" in own or not has_own_two):
        fields["channels"] = {"output": values["output"]}
    else:
        both = values.get("output", (CONSOLE,))
        fields["channels"] = {key: values.get(key, both) for key in ("stdout", "stderr")}
    return fields


def find_sink_conflicts(
    own: Mapping[str, Any], defaults: Mapping[str, Any], values: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield (key, sentence) of each."""
    for table in (own, defaults):
        if "output" in table and ("stdout" in table or "stderr" in table):
            yield "output", "is both stdout and stderr; have either it or these"
    if values.get("tty"):
        yield from _find_terminal_conflicts(own, values)
    match values.get("ready"):
        case Probe(kind="log"):
            sinks = make_sinks(values, own)["channels"].values()
            if all(channel == (INHERIT,) for channel in sinks):
                yield "ready", "needs output that passes through mocker, and all is inherited"
        case _:
            pass


def _find_terminal_conflicts(
    own: Mapping[str, Any], values: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    for key in ("stdout", "stderr"):
        if key in own:
            yield key, "is not to be had with tty = true: a terminal has one stream; have output"
    if make_sinks(values, own)["channels"]["output"] == (INHERIT,):
        yield "tty", "needs output that passes through mocker, and it is inherited"


def check_files(jobs: Iterable[JobConfig], mistakes: Mistakes) -> None:
    """Note files that are to be rotated in two ways."""
    known: dict[str, tuple[str, tuple[int, int, bool]]] = {}
    for job in jobs:
        for channel, sinks in job.channels.items():
            for sink in sinks:
                rotation = (sink.max_size, sink.backups, sink.compress)
                if sink.kind != "file":
                    continue
                group, other = known.setdefault(sink.path, (job.group, rotation))
                if rotation != other:
                    text = f"must be rotated as {group} has it, as {sink.path!r} is the same file"
                    find_job_place(mistakes, job.group, channel).refuse(text)
