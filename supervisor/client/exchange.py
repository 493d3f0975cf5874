"""One question and its answer in HTTP/1.1, as bytes: who sends them is somebody else's business.

Just what our own supervisor says is understood, which is a small part of HTTP. A library for all of
it takes four times as long to load as the answer to come.

Source: RFC 9112.
"""

import json
from collections.abc import Mapping, Sequence

from .address import NoSupervisorError

Query = Sequence[tuple[str, str]]  # keys and values
Body = Mapping[str, object]

_MOST_HEAD = 2**16  # bytes
_MOST_DIGITS = 15  # of a size
_OK = 200
_GRANTED = range(_OK, 300)
_STATUSES = range(_OK, 600)  # what comes before an answer, 1xx, is only sent to who asks for it
_END_OF_HEAD, _END_OF_LINE = b"\r\n\r\n", b"\r\n"
_DIGITS = "0123456789abcdef"
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class ProtocolError(Exception):
    """What came is no answer of a supervisor's."""


class AnswerError(Exception):
    """The supervisor refuses what it was asked for.

    Attributes:
        code: For programs.
        status: Of HTTP; 0 for what is asked for otherwise, see `exec` and `attach`.
        jobs: Those that it is about.
        mistakes: Of a file, one line each.
        exit_code: That of `mocker exec` then, such as 127 where there is no such program; None for
            all that is not about a process in a job.
    """

    def __init__(self, status: int, body: bytes | str) -> None:
        try:
            answer = parse_object(body)
        except ProtocolError:
            answer = {}
        error, exit_code = answer.get("error"), answer.get("exit_code")
        facts = error if isinstance(error, dict) else {}
        super().__init__(str(facts.get("message") or f"the answer is HTTP {status}"))
        self.code, self.status = str(facts.get("code", "unknown")), status
        self.jobs, self.mistakes = _list_texts(facts, "jobs"), _list_texts(facts, "mistakes")
        self.exit_code = exit_code if isinstance(exit_code, int) else None


def render_request(method: str, path: str, query: Query = (), body: Body | None = None) -> bytes:
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
        version: Of the supervisor that answers; empty if it does not say.
        at_end: Whether nothing more comes.
    """

    def __init__(self) -> None:
        self.status = 0
        self.version = ""
        self.at_end = False
        self._raw = bytearray()  # what came and is not understood yet
        self._body = bytearray()
        self._left: int | None = None  # bytes of the body, or of its present chunk
        self._is_chunked = False

    def feed_received(self, data: bytes) -> None:
        """Take what came from where a supervisor should be, see `feed`.

        Raises:
            NoSupervisorError: The connection has ended without a byte.
            ProtocolError: See `feed`.
        """
        if not (data or self.status or self._raw):
            raise NoSupervisorError("cannot ask the supervisor: it is gone, or lets nobody in")
        self.feed(data)

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
        if not data and self.status and self._left is None and not self._is_chunked:
            self.at_end = True  # it did not say how long it is
        if not data and not self.at_end:
            raise ProtocolError("the connection ended in the middle of an answer")

    def take_body(self) -> bytes:
        """Return what has come of the body since the last time."""
        body = bytes(self._body)
        self._body.clear()
        return body

    def check_granted(self) -> bool:
        """Return whether it is known that the supervisor does what it was asked for.

        Raises:
            AnswerError: It refuses, and all that it says of it has come.
        """
        is_granted = self.status in _GRANTED
        if self.at_end and not is_granted:
            raise AnswerError(self.status, self.take_body())
        return is_granted

    def take_object(self) -> dict[str, object]:
        """Return the object that is the answer, once it is whole.

        Raises:
            AnswerError: It is refused.
            ProtocolError: It is no JSON object.
        """
        self.check_granted()
        return parse_object(self.take_body())

    def take_text(self) -> bytes:
        """Return the lines that have come whole since the last time, in one piece.

        Raises:
            ProtocolError: The last one is not whole.
        """
        end = self._body.rfind(b"\n") + 1
        lines = bytes(self._body[:end])
        del self._body[:end]
        if not lines and self.at_end and self._body:
            raise ProtocolError("its last line is not whole")
        return lines

    def _read_head(self) -> None:
        head, found, rest = self._raw.partition(_END_OF_HEAD)
        if not found:
            if len(head) > _MOST_HEAD:
                raise ProtocolError("its head has no end")
            return
        first, *fields = bytes(head).decode("latin-1").split("\r\n")
        protocol, _, rest_of_line = first.partition(" ")
        status = rest_of_line.partition(" ")[0]
        is_status = len(status) == len("200") and status.isdecimal() and int(status) in _STATUSES
        if not protocol.startswith("HTTP/1.") or not is_status:
            raise ProtocolError(f"it begins with {first[:40]!r}")
        self.status, self._raw = int(status), rest
        for field in fields:
            name, _, value = field.partition(":")
            match name.strip().lower():
                case "content-length":
                    self._left = _parse_size(value.strip(), 10)
                case "transfer-encoding":
                    self._is_chunked = value.strip().lower() == "chunked"
                case "mocker-version":
                    self.version = value.strip()
                case _:
                    pass
        if self._is_chunked:
            self._left = None  # RFC 9112, 6.3: then nothing else says how long it is

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
            if len(line) > _MOST_HEAD:
                raise ProtocolError("a size has no end")
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
        if not self._raw.startswith(_END_OF_LINE):
            raise ProtocolError("a part of it is longer than it says")
        del self._raw[: len(_END_OF_LINE)]
        self._left = None
        return True


def parse_object(text: bytes | str) -> dict[str, object]:
    """Return the object of a JSON text.

    Raises:
        ProtocolError: It is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ProtocolError("it is no JSON object")
    return found


def parse_lines(text: bytes) -> list[dict[str, object]]:
    """Return the objects of a text that has one a line.

    Raises:
        ProtocolError: It has something else.
    """
    try:
        # All at once: one after the other takes three times as long. No string has a newline.
        found = json.loads(b"[" + text[:-1].replace(b"\n", b",") + b"]")
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"it is no JSON: {error}") from error
    if not all(isinstance(each, dict) for each in found):
        raise ProtocolError("it is no JSON object")
    return list(found)


def check_line(line: Mapping[str, object]) -> None:
    """Return if a line is not one that says why there are no more.

    Raises:
        AnswerError: It is.
    """
    if "error" in line:
        raise AnswerError(_OK, json.dumps(line).encode())


def get_value(answer: Mapping[str, object], key: str) -> object:
    """Return what an answer has for a key.

    Raises:
        ProtocolError: It has nothing.
    """
    if key not in answer:
        raise ProtocolError(f"it has no {key!r}")
    return answer[key]


def list_objects(answer: Mapping[str, object], key: str) -> list[dict[str, object]]:
    """Return the objects that an answer has in a list.

    Raises:
        ProtocolError: It has no such list.
    """
    found = get_value(answer, key)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ProtocolError(f"its {key!r} is no list of objects")
    return found


def _list_texts(facts: Mapping[str, object], key: str) -> tuple[str, ...]:
    found = facts.get(key)
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _parse_size(text: str, base: int) -> int:
    # Not what else int() takes: signs, underscores, "0x", digits of other scripts.
    known = _DIGITS[:base]
    text = text.strip()
    if not 0 < len(text) <= _MOST_DIGITS or text.lower().strip(known):
        raise ProtocolError(f"a size is {text[:40]!r}")
    return int(text, base)


def quote(text: str) -> str:
    """Return a text as a part of a path, or of a query."""
    return "".join(
        chr(byte) if byte in _UNRESERVED else f"%{byte:02X}"
        for byte in text.encode(errors="surrogateescape")
    )
