"""How much a job has printed, counted where it is relayed.

To count lines is to look at each byte once more, which slows down the relay of a job that prints a
million lines in a second by a tenth. So of a second only the first megabytes are counted.
"""

from .lines import Lines

_SECOND = 10**9  # nanoseconds
_MOST_COUNTED = 16 * 2**20  # bytes in a second; to look at them takes less than 1 % of it


class Tally:
    """What has come of one job, all of its runs together.

    Attributes:
        bytes: As the job wrote them.
        lines: Those that have ended.
        is_exact: Whether these are all; otherwise so much came in a second that there are more.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.lines = 0
        self.is_exact = True
        self._second = 0  # when it began
        self._in_second = 0  # bytes

    def add(self, lines: Lines) -> None:
        """Count what came."""
        partial = len(lines.partial)  # a newline was put behind each of these
        size = len(lines.text) - partial
        self.bytes += size
        if not 0 <= lines.time_ns - self._second < _SECOND:
            self._second, self._in_second = lines.time_ns, 0
        self._in_second += size
        if self._in_second > _MOST_COUNTED:
            self.is_exact = False
        else:
            self.lines += lines.ended
