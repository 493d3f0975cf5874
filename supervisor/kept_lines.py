"""Lines that are kept in one piece, though they came in several.

A job that prints one line at a time would otherwise cost many times what it prints. When each part
came is kept beside the text, as a number: the nanoseconds since the first part, times `REACH`, plus
the byte at which it begins. What came later has a bigger number.
"""

from array import array
from collections.abc import Iterator

import attrs

from .lines import Lines

REACH = 2**12  # bytes from the beginning in which a part may begin
MOST_WAIT = 2**52  # nanoseconds between the first part and another: what the number has room for


@attrs.frozen
class KeptLines:
    """Some of the last lines of a source.

    Attributes:
        lines: They, and when the first part came.
        later: The numbers of the other parts, rising; there are none where pieces are partial.
    """

    lines: Lines
    later: "array[int]" = attrs.field(factory=lambda: array("Q"))

    def split(self) -> Iterator[Lines]:
        """Yield the parts as they came."""
        lines, begin, wait_ns = self.lines, 0, 0
        for number in self.later:
            next_ns, end = divmod(number, REACH)
            yield Lines(lines.source, lines.text[begin:end], (), lines.time_ns + wait_ns)
            begin, wait_ns = end, next_ns
        text = lines.text[begin:] if begin else lines.text
        yield Lines(lines.source, text, lines.partial, lines.time_ns + wait_ns)

    def count_before(self, since_ns: int) -> int:
        """Return how many bytes came before a time."""
        if self.lines.time_ns >= since_ns:
            return 0
        for number in self.later:
            wait_ns, begin = divmod(number, REACH)
            if self.lines.time_ns + wait_ns >= since_ns:
                return begin
        return len(self.lines.text)

    def drop(self, size: int) -> "KeptLines":
        """Return what is left without the first so many bytes, which are whole lines."""
        if not size:
            return self
        lines = self.lines
        gone = lines.text.count(b"\n", 0, size) if lines.partial else 0
        partial = tuple(index - gone for index in lines.partial if index >= gone)
        time_ns, later = drop_parts(lines.time_ns, self.later, size)
        return KeptLines(Lines(lines.source, lines.text[size:], partial, time_ns), later)


def drop_parts(time_ns: int, later: "array[int]", size: int) -> "tuple[int, array[int]]":
    """Return when what is left without the first so many bytes came: the first part, the others."""
    first_ns, left = 0, array("Q")
    for number in later:
        wait_ns, begin = divmod(number, REACH)
        if begin <= size:
            first_ns = wait_ns
        else:
            left.append((wait_ns - first_ns) * REACH + begin - size)
    return time_ns + first_ns, left
