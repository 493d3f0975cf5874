"""One question and its answer in HTTP/1.1, as bytes: who sends them is somebody else's business.

Just what our own supervisor says is understood, which is a small part of HTTP. A library for all of
it takes four times as long to load as the answer to come.

Source: RFC 9112.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

_MOST_HEAD = 2**16  # bytes
_END_OF_HEAD, _END_OF_LINE = b"\r\n\r\n", b"\r\n"
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class ProtocolError(Exception):
    """What came is no answer of a supervisor's."""


class AnswerError(Exception):
    """The supervisor refuses what it was asked for.

    Attributes:
        code: For programs.
        status: Of HTTP.
        jobs: Those that it is about.
        mistakes: Of a file, one line each.
    """

    def __init__(self, status: int, body: bytes) -> None:
        try:
            error = json.loads(body)["error"]
            code, text, jobs = error["code"], error["message"], error.get("jobs", [])
            mistakes = error.get("mistakes", [])
        except (ValueError, KeyError, TypeError):
            code, text, jobs, mistakes = "unknown", f"the answer is HTTP {status}", [], []
        super().__init__(text)
        self.code, self.status, self.jobs = str(code), status, tuple(jobs)
        self.mistakes = tuple(mistakes)


def render_request(
    method: str,
    path: str,
    query: Sequence[tuple[str, str]] = (),
    body: Mapping[str, object] | None = None,
) -> bytes:
    """Return the bytes of a request, after whose answer the connection ends."""
    if query:
        path += "?" + "&".join(f"{quote(key)}={quote(value)}" for key, value in query)
    lines = [f"{method} {path} HTTP/1.1", "Host: mocker", "Connection: close"]
    content = b"" if body is None else json.dumps(body).encode()
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + content


class Answer:
    """What comes back, as far as it has come.

    Attributes:
        status: Of HTTP; 0 until the head of the answer is there.
        at_end: Whether nothing more comes.
    """

    def __init__(self) -> None:
        self.status = 0
        self.at_end = False
        self._raw = bytearray()  # what came and is not understood yet
        self._body = bytearray()
        self._left: int | None = None  # bytes of the body, or of its present chunk
        self._is_chunked = False

    def feed(self, data: bytes) -> None:
        """Take what came; nothing at the end of the connection.

        Raises:
            ProtocolError: It is no answer, or not all of one.
        """
        self._raw += data
        if not self.status:
            self._read_head()
        if self.status:
            self._read_body()
        if not data and not self.at_end:
            raise ProtocolError("the connection ended in the middle of an answer")

    def take_body(self) -> bytes:
        """Return what has come of the body since the last time."""
        body = bytes(self._body)
        self._body.clear()
        return body

    def take_lines(self) -> Iterator[dict[str, object]]:
        """Yield the objects that have come whole since the last time, a line each.

        Raises:
            ProtocolError: A line is no JSON object.
        """
        while (end := self._body.find(b"\n")) >= 0:
            line = bytes(self._body[:end])
            del self._body[: end + 1]
            yield parse_object(line)

    def _read_head(self) -> None:
        head, found, rest = self._raw.partition(_END_OF_HEAD)
        if not found:
            if len(head) > _MOST_HEAD:
                raise ProtocolError("its head has no end")
            return
        first, *fields = bytes(head).decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
            raise ProtocolError(f"it begins with {first[:40]!r}")
        self.status, self._raw = int(words[1]), rest
        for field in fields:
            name, _, value = field.partition(":")
            match name.strip().lower():
                case "content-length":
                    self._left = _parse_size(value.strip(), 10)
                case "transfer-encoding":
                    self._is_chunked = value.strip().lower() == "chunked"
                case _:
                    pass

    def _read_body(self) -> None:
        if not self._is_chunked:
            taken = self._raw if self._left is None else self._raw[: self._left]
            self._body += taken
            self._left = None if self._left is None else self._left - len(taken)
            self.at_end = self._left == 0
            self._raw.clear()
            return
        while not self.at_end and self._read_chunk():
            pass

    def _read_chunk(self) -> bool:
        """Read a part of the present chunk, or the size of the next; return whether there was."""
        if self._left is None:
            line, found, rest = self._raw.partition(_END_OF_LINE)
            if not found:
                return False
            self._left, self._raw = _parse_size(line.decode("latin-1").split(";")[0], 16), rest
            self.at_end = self._left == 0
            return True
        taken = self._raw[: self._left]
        self._body += taken
        del self._raw[: len(taken)]
        self._left -= len(taken)
        if self._left or len(self._raw) < len(_END_OF_LINE):
            return False
        del self._raw[: len(_END_OF_LINE)]
        self._left = None
        return True


def parse_object(text: bytes) -> dict[str, object]:
    """Return the object of a JSON text.

    Raises:
        ProtocolError: It is none.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ProtocolError(f"it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ProtocolError("it is no JSON object")
    return found


def _parse_size(text: str, base: int) -> int:
    try:
        size = int(text, base)
    except ValueError:
        raise ProtocolError(f"a size is {text[:40]!r}") from None
    if size < 0:
        raise ProtocolError(f"a size is {text[:40]!r}")
    return size


def quote(text: str) -> str:
    """Return a text as a part of a path, or of a query."""
    return "".join(
        chr(byte) if byte in _UNRESERVED else f"%{byte:02X}"
        for byte in text.encode(errors="surrogateescape")
    )
