"""What becomes of sinks, as `mocker run` says it: not events but sentences on stderr."""

import logging

import structlog
from structlog.typing import EventDict

from .output import Output
from .stderr import make_printable

_SENTENCES = {
    "sink.failed": "{sink}: {reason}",
    "sink.recovered": "{sink}: it can be written again, after {after_s} s",
    "sink.degraded": "{sink}: backups: {reason}",
    "sink.lost": "{sink}: {lost}",
    "job.output_lost": "{channel}: {lost}",
    "output.dropped": "of what was to be said here, {lost}",
}


class _Sentences:
    """Where structlog leaves an event of any level."""

    def __init__(self, program: str, output: Output) -> None:
        self._program = program
        self._output = output

    def msg(self, event: EventDict) -> None:
        sentence = make_printable(f"{self._program}: {render_sentence(event)}")
        self._output.put(f"{sentence}\n".encode())

    debug = info = warning = error = critical = msg


def tell_in_sentences(program: str, output: Output) -> None:
    """Send all events from now on to the output, a line each.

    Args:
        program: Whose name stands before them.
        output: Where to.
    """
    structlog.configure(
        processors=[lambda _logger, _method, event: ((event,), {})],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_names: _Sentences(program, output),
        cache_logger_on_first_use=False,
    )


def render_sentence(event: EventDict) -> str:
    """Return an event as a sentence; one that is not known here as its name and its facts."""
    facts = dict(event)
    name = facts.pop("event")
    known = _SENTENCES.get(name)
    if known is not None:
        lines = facts.get("lines")
        return known.format(
            lost="1 line is lost" if lines == 1 else f"{lines} lines are lost", **facts
        )
    return " ".join([name, *(f"{key}={value}" for key, value in facts.items())])
