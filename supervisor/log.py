"""What the supervisor's own events look like: one line each, whatever their facts contain.

For people on a terminal, as JSON for programs, and for what carries lines to journald and takes a
priority from their beginning, see sd-daemon(3). An event is a name and facts; a fact that is not
one plain word is written as JSON in all three, so that no file name or message of another program
can begin a line of its own or steer a terminal. An entry of the journal has such a line as its
message, and each fact as a field.

Whoever logs for long calls structlog.get_logger with what is to be in each event: other than what
its `bind` returns, that follows a new configuration.
"""

import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import structlog
from structlog.typing import EventDict

from .event_journal import EventJournal
from .journal_entries import Fact, render_event
from .output import Output

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # as syslog(3)

_DIM, _BOLD, _RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"
_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}

Render = Callable[[EventDict], str]


class _OutputLogger:
    """Where structlog leaves an event of any level."""

    def __init__(self, output: Output, render: Render) -> None:
        self._output = output
        self._render = render

    def msg(self, event: EventDict) -> None:
        self._output.put(self._render(event).encode() + b"\n")

    debug = info = warning = error = critical = msg


class _JournalLogger:
    """The same, for the journal."""

    def __init__(self, journal: EventJournal, render: Render) -> None:
        self._journal = journal
        self._render = render  # for what the journal does not take

    def msg(self, event: EventDict) -> None:
        line = self._render({**event}).encode() + b"\n"
        self._journal.put(_render_entry(event, self._journal.supervisor), line)

    debug = info = warning = error = critical = msg


def configure_logging(log_format: str, level: str, output: Output, journal: EventJournal) -> None:
    """Send all events from now on to the output, or to the journal.

    Args:
        log_format: "auto", see `resolve_format`; "console", "json", "journald", or "prefix", which
            is what journald and systemd-cat read from a stream.
        level: The least to be written: "debug", "info", "warning" or "error".
        output: Where to; with "journald", only what the journal does not take.
        journal: Where to with "journald".
    """
    logger: Callable[[], _OutputLogger | _JournalLogger]
    auto = resolve_format("auto", output.fd)
    if resolve_format(log_format, output.fd) == "journald":
        logger = partial(_JournalLogger, journal, _choose_renderer(auto, output.fd))
    else:
        render = _choose_renderer(auto if log_format == "auto" else log_format, output.fd)
        logger = partial(_OutputLogger, output, render)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            lambda _logger, _method, event: ((event,), {}),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=lambda *_names: logger(),
        cache_logger_on_first_use=False,
    )


def resolve_format(log_format: str, fd: int) -> str:
    """Return the format that is meant by "auto" for a descriptor; any other is returned as it is.

    "console" on a terminal, "journald" if it is the stream that systemd opened, "json" elsewhere.

    Source: systemd.exec(5), JOURNAL_STREAM.
    """
    if log_format != "auto":
        return log_format
    if os.isatty(fd):
        return "console"
    status = os.fstat(fd)
    if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
        return "journald"
    return "json"


def choose_line_format(log_format: str, fd: int) -> str:
    """Return what lines of jobs look like on a descriptor, see `line_formats`."""
    if log_format in {"auto", "journald"}:
        log_format = resolve_format("auto", fd)
    match log_format:
        case "console":
            return "coloured" if _has_colours(fd) else "console"
        case "json":
            return "json"
        case _:
            return "prefix"


def _choose_renderer(log_format: str, fd: int) -> Render:
    if log_format == "json":
        return _render_json
    if log_format != "console":
        return _render_prefixed
    return _render_coloured if _has_colours(fd) else _render_plain


def _has_colours(fd: int) -> bool:
    is_plain = os.environ.get("TERM") == "dumb" or os.environ.get("NO_COLOR")
    return os.isatty(fd) and not is_plain


def _render_json(event: EventDict) -> str:
    """Return an object whose first keys are timestamp (RFC 3339), level and event."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    head = {"timestamp": now.replace("+00:00", "Z"), "level": event["level"]}
    return _to_json({**head, "event": event.pop("event"), **event})


def _render_prefixed(event: EventDict) -> str:
    priority = _PRIORITIES[event.pop("level")]
    return " ".join([f"<{priority}>{_to_word(event.pop('event'))}", *_render_facts(event)])


def _render_plain(event: EventDict) -> str:
    level, name = event.pop("level"), _to_word(event.pop("event"))
    return " ".join([_local_time(), f"{level:<7}", name, *_render_facts(event)])


def _render_coloured(event: EventDict) -> str:
    level, name = event.pop("level"), _to_word(event.pop("event"))
    facts = [f"{_DIM}{key}={_RESET}{_to_word(value)}" for key, value in event.items()]
    shown = f"{_COLOURS.get(level, '')}{level:<7}{_RESET}"
    return " ".join([f"{_DIM}{_local_time()}{_RESET}", shown, f"{_BOLD}{name}{_RESET}", *facts])


def _render_entry(event: EventDict, supervisor: str) -> bytes:
    """Return an entry of the journal: what it would be as a line, and each fact as a field."""
    priority = _PRIORITIES[event.pop("level")]
    facts = {key: _to_fact(value) for key, value in event.items()}
    message = " ".join([_to_word(event.pop("event")), *_render_facts(event)])
    return render_event(message, priority, {"supervisor": supervisor, **facts})


def _render_facts(event: EventDict) -> list[str]:
    return [f"{key}={_to_word(value)}" for key, value in event.items()]


def _local_time() -> str:
    return datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _to_word(value: object) -> str:
    """Return a value as it is if it is one plain word, and otherwise as JSON."""
    plain = isinstance(value, str) and value.isprintable() and not set(value) & set(' "=')
    return str(value) if plain and value else _to_json(value)


def _to_fact(value: object) -> Fact:
    """Return a value as it is if it is text or a number, and otherwise as JSON."""
    if isinstance(value, str | bytes | int | float) and not isinstance(value, bool):
        return value
    return _to_json(value)


def _to_json(value: object) -> str:
    """Return JSON that can be printed; a "?" stands for bytes that are no text."""
    text = json.dumps(value, ensure_ascii=False, default=_to_text).encode(errors="replace").decode()
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _to_text(value: object) -> str:
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)
