r"""What the lines of a job look like where they end up: as they are, for people, as JSON.

Pure: lines to bytes. All lines of a chunk have the same head and the same tail, so that one
replacement makes all of them; only what cannot be taken as it is, which is found out for the whole
chunk as well, costs more.

JSON keeps every byte: what is no UTF-8 is told byte by byte as the lone surrogates U+DC80 to
U+DCFF, so that `json.loads(…)["line"].encode(errors="surrogateescape")` gives back what was
printed. Text is for people and for terminals: control characters are shown as Python shows them,
such as \x1b, and a "\r" at the end of a line is left out.
"""

import json
import re
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache, partial

from .lines import Format, Lines, Source
from .priorities import Piece, Priorities, may_say

_MARK = "…".encode()  # behind a piece whose line goes on
_SECOND = 10**9  # nanoseconds

_CONTROLS = bytes([*range(0x20), 0x7F]).translate(None, b"\t\n")
_CONTROLS_OF_JSON = bytes(range(0x20)).translate(None, b"\n")
_ESCAPED_IN_JSON = re.compile(rb"[\x00-\x09\x0b-\x1f]")
_LONE = re.compile("[\udc80-\udcff]")
# Of Unicode's characters those that steer: C0 and C1, ends of lines, changes of direction.
_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

_COLOURS = (36, 32, 35, 34, 96, 92, 95, 94)  # of a terminal; red and yellow are those of events
_DIM, _RESET = "\x1b[2m", "\x1b[0m"

_MakeHead = Callable[[int], bytes]  # of the time


def make_format(name: str, source: Source) -> Format:
    """Return what makes the lines of a source into bytes.

    Args:
        name: "raw", "text" or "json", see above; "told" for JSON as who asks a supervisor gets it;
            "console" or "coloured" for people, with the local time; "prefix" for who reads
            priorities, see sd-daemon(3).
        source: Whose lines they will be.
    """
    match name:
        case "raw":
            return _render_raw
        case "json" | "told":
            return partial(_render_json, *_make_json_ends(name, source))
        case "prefix":
            return _PrefixFormat(source).render
        case "text":
            return partial(_render_text, partial(_make_text_head, source))
        case "coloured":
            return partial(_render_text, partial(_make_coloured_head, source))
        case _:
            return partial(_render_text, partial(_make_console_head, source))


def render_time(time_ns: int) -> str:
    """Return a time as RFC 3339 has it, in UTC, with microseconds."""
    seconds, rest = divmod(time_ns, _SECOND)
    return f"{_render_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(16)
def _render_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def make_safe(text: bytes) -> bytes:
    """Return text of lines that does nothing to a terminal but to be seen."""
    if text.isascii() and len(text.translate(None, _CONTROLS)) == len(text):
        return text
    shown = text.decode(errors="backslashreplace").replace("\r\n", "\n")
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], shown).encode()


def _render_raw(lines: Lines) -> list[bytes]:
    return [lines.raw]


def _render_text(make_head: _MakeHead, lines: Lines) -> list[bytes]:
    text = make_safe(_mark(lines))
    if not text:
        return []
    head = make_head(lines.time_ns)
    return [head + text[:-1].replace(b"\n", b"\n" + head) + b"\n"]


def _mark(lines: Lines) -> bytes:
    """Return the text with a mark behind each piece that is only a part of a line.

    The end alone of such a line is left out, as it would look like an empty one.
    """
    text = lines.text
    if lines.partial:
        pieces = lines.split()
        for index in lines.partial:
            pieces[index] += _MARK
        text = b"\n".join([*pieces, b""])
    return text.removeprefix(b"\n") if lines.continues else text


def _make_text_head(source: Source, time_ns: int) -> bytes:
    return f"{render_time(time_ns)} {source.channel} {source.job} | ".encode()


def _make_console_head(source: Source, time_ns: int) -> bytes:
    return f"{_render_local_time(time_ns)} {source.channel:<7} {source.job} | ".encode()


def _make_coloured_head(source: Source, time_ns: int) -> bytes:
    colour = f"\x1b[{_COLOURS[zlib.crc32(source.job.encode()) % len(_COLOURS)]}m"
    when = f"{_DIM}{_render_local_time(time_ns)} {source.channel:<7}{_RESET}"
    return f"{when} {colour}{source.job} |{_RESET} ".encode()


def _render_local_time(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, _SECOND)
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}.{rest // 10**6:03d}"


class _PrefixFormat:
    """Makes lines that begin with their priority: the job's own, or the channel's."""

    def __init__(self, source: Source) -> None:
        name = f"{source.job} | ".encode()
        self._heads = [b"<%d>%s" % (priority, name) for priority in range(8)]
        self._priorities = Priorities(source)
        self._head = self._heads[self._priorities.usual]
        self._own = re.compile(rb"^%s<([0-7])>" % re.escape(self._head), re.MULTILINE)
        self._own_head = rb"<\1>" + name

    def render(self, lines: Lines) -> list[bytes]:
        if lines.partial or lines.continues:
            text = b"".join(map(self._render_piece, self._priorities.tell_apart(lines)))
            return [text] if text else []
        rendered = _render_text(lambda _: self._head, lines)
        if not may_say(lines):
            return rendered
        return [self._own.sub(self._own_head, text) for text in rendered]

    def _render_piece(self, piece: Piece) -> bytes:
        if piece.is_rest and not piece.text:
            return b""  # the end alone of a line, which would look like an empty one
        mark = _MARK if piece.goes_on else b""
        return self._heads[piece.priority] + make_safe(piece.text + mark + b"\n")


def _make_json_ends(name: str, source: Source) -> tuple[bytes, bytes, bytes]:
    """Return what is before the timestamp, what is between it and a line, and what is behind."""
    begin = b'{"time":"' if name == "told" else b'{"timestamp":"'
    job, channel = json.dumps(source.job), json.dumps(source.channel)
    middle = f'","job":{job},"channel":{channel},"line":"'
    return begin, middle.encode(), f'","pid":{source.pid},"attempt":{source.attempt}'.encode()


def _render_json(begin: bytes, middle: bytes, tail: bytes, lines: Lines) -> list[bytes]:
    head = begin + render_time(lines.time_ns).encode() + middle
    text = _escape(lines.text)
    between = tail + b"}\n" + head
    if not lines.partial:
        return [head + text[:-1].replace(b"\n", between) + tail + b"}\n"]
    pieces = text[:-1].split(b"\n")
    ends = [tail + b"}\n"] * len(pieces)
    for index in lines.partial:
        ends[index] = tail + b',"partial":true}\n'
    return [b"".join(head + p + end for p, end in zip(pieces, ends, strict=True))]


def _escape(text: bytes) -> bytes:
    """Return text of lines as the inside of JSON strings, with the ends of lines as they are."""
    text = text.replace(b"\\", rb"\\").replace(b'"', rb"\"")
    if len(text.translate(None, _CONTROLS_OF_JSON)) != len(text):
        text = _ESCAPED_IN_JSON.sub(lambda found: rb"\u%04x" % ord(found[0]), text)
    if text.isascii():
        return text
    try:
        text.decode()
    except UnicodeDecodeError:
        lone = text.decode(errors="surrogateescape")
        return _LONE.sub(lambda found: f"\\u{ord(found[0]):04x}", lone).encode()
    return text
