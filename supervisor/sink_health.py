"""Whether what a sink writes to works: said once when it does not, and once when it does again."""

import structlog
import trio

from mocker.isolation.errors import render_reason

log = structlog.get_logger("mocker.sinks")


class SinkHealth:
    """Whether one target works.

    Attributes:
        is_failing: It has been told that the target does not.
    """

    def __init__(self, sink: str) -> None:
        """Take it to work.

        Args:
            sink: Its name, as events have it.
        """
        self.is_failing = False
        self._sink = sink
        self._since = 0.0
        self._trouble = ""  # that was told last

    def note_failure(self, reason: str) -> None:
        """Tell why it does not work, if that is news."""
        if not self.is_failing:
            self.is_failing, self._since = True, trio.current_time()
            log.error("sink.failed", sink=self._sink, reason=reason)

    def note_success(self, trouble: OSError | None) -> None:
        """Tell that it works again, and what is wrong nevertheless, if either is news."""
        if self.is_failing:
            self.is_failing = False
            seconds = trio.current_time() - self._since
            log.info("sink.recovered", sink=self._sink, after_s=round(seconds, 3))
        reason = "" if trouble is None else render_error(trouble)
        if reason and reason != self._trouble:
            log.warning("sink.degraded", sink=self._sink, reason=reason)
        self._trouble = reason


def render_error(error: OSError) -> str:
    """Return what is wrong with a target."""
    return f"it cannot be written{render_reason(error.errno or 0)}"
