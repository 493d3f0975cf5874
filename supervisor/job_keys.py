"""The keys of a job, as a table: what each takes, and which value of the job it becomes."""

from typing import Any

from .config import Backoff, GiveUp
from .container_keys import CONTAINER_KEYS
from .container_words import parse_signal
from .mistakes import MistakeError, Place
from .probe_keys import parse_alive, parse_ready
from .schedule import check_schedule
from .sink_keys import SINK_KEYS
from .values import (
    Parse,
    check_spec,
    each_of,
    map_of,
    number,
    one_of,
    parse_boolean,
    parse_duration_value,
    parse_name,
    parse_path,
    parse_positive_duration,
    parse_text,
    require,
    table_of,
    whole,
)

_MAX_REPLICAS = 10_000  # each takes a handful of descriptors, of which a process has a million
_LAST_CODE = 255
_MAX_FAILURES = 1_000_000  # that are counted one by one
_MAX_FACTOR = 1000  # from the shortest wait to the longest at once
_CONDITIONS = ("started", "ready", "completed", "exited")


def _parse_dependencies(value: object, place: Place) -> dict[str, str]:
    if isinstance(value, list):  # as in docker compose
        return dict.fromkeys(each_of(parse_name)(value, place), "started")
    return dict(map_of(one_of(*_CONDITIONS))(value, place))


def _parse_backoff(value: object, place: Place) -> Backoff:
    fields: dict[str, Any] = _BACKOFF(value, place)
    initial = fields.get("initial", Backoff().initial)
    if initial > fields.setdefault("max", max(Backoff().max, initial)):
        raise MistakeError(f"must have a max of at least initial, {initial:g} s")
    return Backoff(**fields)


def _parse_give_up(value: object, place: Place) -> GiveUp:
    fields: dict[str, Any] = _GIVE_UP(value, place)
    require(fields, "failures", "within")
    return GiveUp(**fields)


def _parse_codes(value: object, place: Place) -> frozenset[int]:
    return frozenset(_CODES(value, place))


def _parse_stop_signal(value: object, place: Place) -> int:
    found = parse_signal(parse_text(value, place))
    check_spec(stop_signal=found)
    return found


def _parse_timeout(value: object, place: Place) -> float | None:
    return parse_duration_value(value, place) or None


def _parse_schedule(value: object, place: Place) -> str:
    return check_schedule(parse_text(value, place))


_BACKOFF = table_of(
    {
        "initial": parse_duration_value,
        "factor": number(1, _MAX_FACTOR),
        "max": parse_duration_value,
        "jitter": number(0, 1),
        "reset_after": parse_duration_value,
    }
)
_GIVE_UP = table_of({"failures": whole(1, _MAX_FAILURES), "within": parse_positive_duration})
_CODES = each_of(whole(0, _LAST_CODE))

# Those of JobConfig itself, under the same name.
FIELD_KEYS: dict[str, Parse] = {
    "depends_on": _parse_dependencies,
    "restart": one_of("always", "on-failure", "never"),
    "backoff": _parse_backoff,
    "give_up": _parse_give_up,
    "success_codes": _parse_codes,
    "permanent_codes": _parse_codes,
    "start_timeout": parse_positive_duration,
    "timeout": _parse_timeout,
    "stop_signal": _parse_stop_signal,
    "grace": parse_duration_value,
    "critical": parse_boolean,
    "ready": parse_ready,
    "alive": parse_alive,
    "schedule": _parse_schedule,
    "overlap": one_of("skip", "queue"),
    "run_on_start": parse_boolean,
    "stdin": parse_path,
    "tty": parse_boolean,
}
JOB_KEYS: dict[str, Parse] = {
    "type": one_of("service", "oneshot"),
    "replicas": whole(1, _MAX_REPLICAS),
    **FIELD_KEYS,
    **SINK_KEYS,
    **CONTAINER_KEYS,
}
