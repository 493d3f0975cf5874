"""Which signals ask for an end, and how often one was asked for.

The second request means that there is to be no grace. Who sends a signal to a process and to its
group, as timeout(1) does, sends it twice, and has made one request.
"""

import _signal as signal

ENDING_SIGNALS: set[int] = {signal.SIGTERM, signal.SIGINT}
ECHO_S = 0.1  # within which the same one is the one before


class EndingSignals:
    """Those that have come.

    Attributes:
        count: How many requests, where the same one in quick succession is one.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last, self._last_at = 0, 0.0

    def take(self, number: int, now: float) -> bool:
        """Take one, at a time in seconds; return whether it is not the one before once more."""
        if number == self._last and now - self._last_at < ECHO_S:
            return False
        self._last, self._last_at = number, now
        self.count += 1
        return True
