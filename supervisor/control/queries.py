"""What stands behind the question mark of a request, once it is clear that it can be meant."""

import math
from collections.abc import Collection

from starlette.requests import Request

from .problems import RequestError

_MOST_DIGITS = 15
_MOST_SECONDS = 1e9  # some thirty years; more is as much
_WORDS = {"0": False, "1": True, "false": False, "true": True}


def check_query(request: Request, known: Collection[str]) -> None:
    """Refuse what would be ignored.

    Raises:
        RequestError: There is an unknown key.
    """
    unknown = sorted(request.query_params.keys() - set(known))
    if unknown:
        raise RequestError("bad-request", 400, f"unknown key {unknown[0]!r}")


def take_count(request: Request, key: str) -> int | None:
    """Return a whole number, None if there is none.

    Raises:
        RequestError: It is no such number.
    """
    text = request.query_params.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise RequestError("bad-request", 400, f"{key!r} is no whole number")
    return int(text)


def take_seconds(request: Request, key: str) -> float | None:
    """Return a number of seconds, None if there is none.

    Raises:
        RequestError: It is no such number, or negative.
    """
    text = request.query_params.get(key)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise RequestError("bad-request", 400, f"{key!r} is no number of seconds")
    return min(seconds, _MOST_SECONDS)


def take_flag(request: Request, key: str) -> bool:
    """Return whether something is wanted: 1 or 0, true or false, which it is if not said.

    Raises:
        RequestError: It is something else.
    """
    text = request.query_params.get(key, "0")
    if text not in _WORDS:
        raise RequestError("bad-request", 400, f"{key!r} is neither 1 nor 0")
    return _WORDS[text]
