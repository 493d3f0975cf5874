"""Ask a job by HTTP: whether a GET is answered with a status from 200 to 399.

Spoken by hand, for little is needed and all of it must be bounded: the status is taken from the
first lines of the answer, redirections are not followed, and a body is of no interest.

Source: RFC 9112.
"""

import re

import trio
from trio.socket import SocketType

from mocker.isolation import Container

from .probe_tcp import UnreachableError, connect, describe
from .probe_url import HttpTarget, parse_url

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: .*)?\r?", re.DOTALL)
_SWITCHING = 101  # the only interim status that ends HTTP
_FIRST_FINAL, _FIRST_BAD = 200, 400
_MAX_LINE = 4096  # bytes of a status line
_MAX_HEAD = 2**16  # bytes until there is one: that of interim answers
_MAX_BODY = 2**16  # bytes that are taken so that the server need not learn that nobody reads them
_BODY_S = 0.1  # seconds likewise
_CHUNK = 2**14  # bytes
_SHOWN = 60  # bytes of what is no status line


async def ask_http(container: Container, url: str) -> str:
    """Return what is bad about the answer to a GET, or why there is none.

    Args:
        container: In whose network it is asked.
        url: As `parse_url` takes it.

    Raises:
        OSError: There is no descriptor left here.
        SetupError: The container can't be asked.
    """
    target = parse_url(url)
    try:
        stream = await connect(container, target.hosts, target.port)
    except UnreachableError as error:
        return str(error)
    with stream:
        try:
            status = await _get(stream, target)
        except OSError as error:
            return describe(error)
        except ValueError as error:
            return str(error)
    return "" if _FIRST_FINAL <= status < _FIRST_BAD else str(status)


def find_status(received: bytes) -> int | None:
    """Return the status of an answer, None if more of it is needed.

    Raises:
        ValueError: It is not HTTP; the text says so.
    """
    while True:
        line, complete, _ = received.partition(b"\n")
        match = _STATUS_LINE.fullmatch(line)
        if len(line) > _MAX_LINE or (complete and match is None):
            shown = line[:_SHOWN].rstrip(b"\r").decode(errors="replace")
            raise ValueError(f"not HTTP: {shown!r}")
        if not complete or match is None:
            return None
        status = int(match[1])
        if status >= _FIRST_FINAL or status == _SWITCHING:
            return status
        _, complete, received = received.partition(b"\r\n\r\n")
        if not complete:
            return None


async def _get(stream: SocketType, target: HttpTarget) -> int:
    """Ask, and return the status of the answer.

    Raises:
        OSError: The connection broke.
        ValueError: The answer is not HTTP.
    """
    request = (
        f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\n"
        "User-Agent: mocker\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    ).encode()
    while request:
        request = request[await stream.send(request) :]
    received = b""
    while (status := find_status(received)) is None:
        chunk = await stream.recv(_CHUNK)
        if not chunk:
            raise ValueError("closed without an answer")
        received += chunk
        if len(received) > _MAX_HEAD:
            raise ValueError("an answer without an end")
    await _take_body(stream)
    return status


async def _take_body(stream: SocketType) -> None:
    """Read on for a moment: some servers complain about whoever hangs up while they still write."""
    left = _MAX_BODY
    # Shielded: the answer is known, and must not become none because time is up meanwhile.
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _BODY_S):
        try:
            while left > 0 and (chunk := await stream.recv(_CHUNK)):
                left -= len(chunk)
        except OSError:
            pass  # nobody needs it
