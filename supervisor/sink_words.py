"""How sinks are written on a command line: "journald", "file:web.log,format=json,max_size=50M".

Apart from `sink_keys`, which is about the same in a file, because that imports what a container is
started without. A mistake is a ValueError with words that go on from the name of the option.
"""

from _collections_abc import Sequence

from .quantities import parse_size

FILE_FORMATS = ("raw", "text", "json")
MAX_SIZE, BACKUPS = 50 * 2**20, 10  # unless somebody says otherwise
MOST_BYTES = 2**60  # of a file
MOST_BACKUPS = 1000  # that are renamed one by one
JOURNALD_SOCKET = "/run/systemd/journal/socket"

_ALONE = ("null", "inherit")
_KINDS = "console, journald, null, inherit or file:PATH"
_MAX_DIGITS = 4  # of a number of backups


class SinkWord:
    """A sink, as `config.SinkConfig` has it; "null" is a kind as well.

    Attributes:
        kind: "console", "journald", "file", "null" or "inherit".
        path: Of a file, or of journald's socket.
        format: Of a file: "raw", "text" or "json".
        max_size: Bytes at which a file becomes a backup; 0 for never.
        backups: How many of them are kept.
        compress: Whether they are compressed.
    """

    __slots__ = ("backups", "compress", "format", "kind", "max_size", "path")

    def __init__(self, kind: str, path: str = "") -> None:
        self.kind, self.path = kind, path
        self.format, self.max_size, self.backups, self.compress = "raw", MAX_SIZE, BACKUPS, False


def parse_sink(word: str) -> SinkWord:
    """Return the sink of KIND[:PATH][,OPTION[=VALUE]]…; a path has no comma.

    Raises:
        ValueError: It is written in another way.
    """
    head, *options = word.split(",")
    kind, colon, path = head.partition(":")
    sink = SinkWord(kind, path)
    if kind == "file" and path:
        for option in options:
            _set_file_option(sink, option)
    elif kind == "journald" and not colon:
        sink.path = JOURNALD_SOCKET
        for option in options:
            _set_journald_option(sink, option)
    elif word not in {"console", "null", "inherit"}:
        raise ValueError(f"must be {_KINDS}, not {word!r}")
    return sink


def check_together(sinks: Sequence[SinkWord]) -> None:
    """Refuse sinks that cannot be meant together.

    Raises:
        ValueError: One is there twice, or with others though it must be alone.
    """
    for sink in sinks:
        if sink.kind in _ALONE and len(sinks) > 1:
            raise ValueError(f"must have {sink.kind} alone")
    places = [sink.path if sink.kind == "file" else sink.kind for sink in sinks]
    for place in places:
        if places.count(place) > 1:
            raise ValueError(f"must not have {place} twice")


def _set_file_option(sink: SinkWord, option: str) -> None:
    key, equals, value = option.partition("=")
    match key.replace("-", "_"):  # as docker has it: max-size
        case "format" if value in FILE_FORMATS:
            sink.format = value
        case "format":
            raise ValueError(f"format must be raw, text or json, not {value!r}")
        case "max_size":
            sink.max_size = _parse_max_size(value)
        case "backups":
            sink.backups = _parse_backups(value)
        case "compress" if not equals or value in {"true", "false"}:
            sink.compress = value != "false"
        case _:
            known = "format=…, max_size=…, backups=… and compress"
            raise ValueError(f"file:… takes {known}, not {option!r}")


def _set_journald_option(sink: SinkWord, option: str) -> None:
    key, _, value = option.partition("=")
    if key != "socket" or not value:
        raise ValueError(f"journald takes socket=PATH, not {option!r}")
    sink.path = value


def _parse_max_size(text: str) -> int:
    try:
        size = parse_size(text)
    except ValueError as error:
        raise ValueError(f"max_size {error}") from None
    if size > MOST_BYTES:
        raise ValueError(f"max_size must be at most {MOST_BYTES}, not {text!r}")
    return size


def _parse_backups(text: str) -> int:
    whole = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    if not whole or int(text) > MOST_BACKUPS:
        raise ValueError(f"backups must be 0 to {MOST_BACKUPS}, not {text!r}")
    return int(text)
