"""Tells that a sink takes nothing, and that it does again: once, however many ways lead to it.

What jobs print and what the supervisor itself says go to journald in two ways. Each finds out by
itself that it is gone, and that it is back; whoever reads about it has to be told of one thing.
"""

import structlog
import trio

log = structlog.get_logger("mocker.sinks")


class Outage:
    """Whether a sink is out.

    Attributes:
        is_being_told: Whether what is said now is that it is; that should not wait until it is not.
    """

    # Small, as each sink of a thousand has one.
    __slots__ = ("_facts", "_since", "_sink", "_ways", "is_being_told")

    def __init__(self, sink: str, **facts: str) -> None:
        """Take it to work.

        Args:
            sink: Its name.
            facts: What else is said of it.
        """
        self.is_being_told = False
        self._sink = sink
        self._facts = facts
        self._ways: frozenset[object] = frozenset()  # that do not work
        self._since = 0.0  # in trio's time

    def begin(self, way: object, reason: str) -> None:
        """Have one way not work; nothing is new if that is known, or another does not either."""
        is_new = not self._ways
        self._ways |= {way}
        if is_new:
            self._since = trio.current_time()
            self.is_being_told = True
            log.error("sink.failed", sink=self._sink, **self._facts, reason=reason)
            self.is_being_told = False

    def end(self, way: object) -> None:
        """Have one way work, which is nothing new if it did; others that don't must say so again.

        They need not know yet that the sink is back: each tries when it has something to write.
        """
        if way in self._ways:
            self._ways = frozenset()
            seconds = trio.current_time() - self._since
            log.info("sink.recovered", sink=self._sink, **self._facts, after_s=round(seconds, 3))
