"""What a request says, once it is clear that it can be meant.

Sizes are bounded before anything is read of it.
"""

import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import TypeVar

import trio
from starlette.requests import ClientDisconnect, Request

from .connections import Connection
from .problems import RequestError, make_too_slow

_MOST_BODY = 2**16  # bytes
_LONGEST_S = 10.0  # that a body may take
_MOST_NAMES = 10_000

Value = TypeVar("Value")


async def read_body(request: Request) -> Mapping[str, object]:
    """Return the object that is the body of a request; an empty one if there is no body.

    Raises:
        RequestError: It is too big or too slow, or no JSON object.
        ClientDisconnect: There is nobody any more to be told what comes of it.
    """
    body = bytearray()
    connection: Connection = request.scope["connection"]
    with trio.move_on_after(_LONGEST_S) as wait, connection.awaiting_rest():
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > _MOST_BODY:
                    raise RequestError("too-big", 413, f"a body may have {_MOST_BODY} bytes")
    if connection.is_closed:
        # It had to go for others and was told so, between the end of the request and this moment.
        raise ClientDisconnect
    if wait.cancelled_caught:
        raise make_too_slow("a body", _LONGEST_S)
    try:
        values = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise RequestError("bad-request", 400, f"the body is no JSON: {error}") from error
    if not isinstance(values, dict):
        raise RequestError("bad-request", 400, "the body is no JSON object")
    return values


def take(values: Mapping[str, object], key: str, kind: type[Value], default: Value) -> Value:
    """Return what a body has for a key.

    Raises:
        RequestError: It is of another kind.
    """
    value = values.get(key, default)
    # True is an int to Python, and to nobody else.
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise RequestError("bad-request", 400, f"{key!r} is no {_KINDS[kind]}")
    return value


def take_names(values: Mapping[str, object], key: str = "jobs") -> list[str]:
    """Return the names of jobs that a body has.

    Raises:
        RequestError: There are none, or they are no texts.
    """
    names = values.get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError("bad-request", 400, f"{key!r} is no list of names")
    if not 0 < len(names) <= _MOST_NAMES:
        raise RequestError("bad-request", 400, f"{key!r} has no names, or too many")
    return names


def check_keys(values: Mapping[str, object], known: tuple[str, ...]) -> None:
    """Refuse what would be ignored.

    Raises:
        RequestError: There is an unknown key.
    """
    unknown = sorted(values.keys() - set(known))
    if unknown:
        raise RequestError("bad-request", 400, f"unknown key {unknown[0]!r}")


_KINDS: dict[type, str] = {
    str: "text",
    int: "whole number",
    bool: "true or false",
    float: "number",
    dict: "object",
}
