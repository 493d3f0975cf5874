"""Whether what a sink writes to works: said once when it does not, and once when it does again."""

import structlog

from mocker.isolation.errors import render_reason

from .outage import Outage

log = structlog.get_logger("mocker.sinks")


class SinkHealth:
    """Whether one target works.

    Attributes:
        is_failing: It does not, and that has been told.
    """

    def __init__(self, sink: str, outage: Outage | None = None) -> None:
        """Take it to work.

        Args:
            sink: Its name, as events have it.
            outage: Of the target, if others write to it as well.
        """
        self.is_failing = False
        self._sink = sink
        self._outage = outage or Outage(sink)
        self._trouble = ""  # that was told last

    def note_failure(self, reason: str) -> None:
        """Tell why it does not work, if that is news."""
        self.is_failing = True
        self._outage.begin(self, reason)

    def note_success(self, trouble: OSError | None) -> None:
        """Tell that it works again, and what is wrong nevertheless, if either is news."""
        if self.is_failing:
            self.is_failing = False
            self._outage.end(self)
        reason = "" if trouble is None else render_error(trouble)
        if reason and reason != self._trouble:
            log.warning("sink.degraded", sink=self._sink, reason=reason)
        self._trouble = reason


def render_error(error: OSError) -> str:
    """Return what is wrong with a target."""
    return f"it cannot be written{render_reason(error.errno or 0)}"
