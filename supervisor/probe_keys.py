"""The keys `ready` and `alive` of a job: how it is asked, and how often."""

from typing import Any

from mocker.isolation.checks import MAX_READY_FD

from .config import Probe
from .mistakes import MistakeError, Place
from .probe_url import parse_url
from .values import (
    Parse,
    check_table,
    parse_boolean,
    parse_command,
    parse_positive_duration,
    parse_regex,
    parse_text,
    table_of,
    whole,
)

_LAST_PORT = 65535
_MAX_FAILURES = 1000  # bad answers in a row; more than anybody waits for


def parse_ready(value: object, place: Place) -> Probe:
    """Return how it is found out that a job is ready."""
    return _parse_probe(value, place, _READY)


def parse_alive(value: object, place: Place) -> Probe:
    """Return how it is found out that a job is still alive."""
    return _parse_probe(value, place, _ALIVE)


def _parse_probe(value: object, place: Place, kinds: dict[str, Parse]) -> Probe:
    table = check_table(value)
    unsuitable = [key for key in table if key in _READY and key not in kinds]
    if unsuitable:
        listed = ", ".join(kinds)
        raise MistakeError(f"must be one of {listed}; {unsuitable[0]} is for readiness only")
    fields: dict[str, Any] = table_of(kinds | _TIMES)(table, place)
    given = [kind for kind in kinds if kind in fields]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise MistakeError(f"must have one of {', '.join(kinds)}, and has {found}")
    kind = given[0]
    target = fields.pop(kind)
    return Probe(kind=kind, target=None if kind == "notify" else target, **fields)


def _parse_url(value: object, place: Place) -> str:
    text = parse_text(value, place)
    try:
        parse_url(text)
    except ValueError as error:
        why = f"; {error}" if str(error) else ""
        raise MistakeError(
            f"must be a URL such as 'http://127.0.0.1:8080/', not {text!r}{why}"
        ) from None
    return text


def _parse_notify(value: object, place: Place) -> bool:
    if not parse_boolean(value, place):
        raise MistakeError("must be true, or not be there")
    return True


_ALIVE: dict[str, Parse] = {
    "tcp": whole(1, _LAST_PORT),
    "http": _parse_url,
    "exec": parse_command,
}
_READY = _ALIVE | {
    "log": parse_regex,
    "notify": _parse_notify,
    "fd": whole(3, MAX_READY_FD),
}
_TIMES = {
    "interval": parse_positive_duration,
    "timeout": parse_positive_duration,
    "failures": whole(1, _MAX_FAILURES),
}
