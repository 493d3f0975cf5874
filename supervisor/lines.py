"""What a job prints, on its way from a pipe to its sinks: many lines in one piece.

A chunk is handled as a whole, because there may be a million lines in a second: nothing is made
for a line alone, and what all lines of a channel have in common is said once.
"""

from collections.abc import Callable

import attrs


@attrs.frozen
class Source:
    """Where lines come from: one channel of one run.

    Attributes:
        job: Its name.
        channel: "stdout", "stderr" or "output", which is both in one pipe.
        pid: Of the run's init.
        attempt: The number of the run.
    """

    job: str
    channel: str
    pid: int
    attempt: int


@attrs.frozen
class Lines:
    """What came in one chunk.

    A line that is too long, or without its end for too long, comes in pieces. Each of them but the
    last is partial; what the last one has may be nothing but the end of the line.

    Attributes:
        source: Where from.
        text: Whole pieces, each ended by one newline.
        partial: Indexes, rising, of pieces that are only a part of a line: there was no newline.
        time_ns: When, since the epoch.
        continues: Whether the first piece is the rest of a line of which a part came before.
    """

    source: Source
    text: bytes
    partial: tuple[int, ...]
    time_ns: int
    continues: bool = False

    @property
    def raw(self) -> bytes:
        """The exact bytes: without the newlines that were put behind partial pieces."""
        if not self.partial:
            return self.text
        pieces = self.split()
        partial = set(self.partial)
        return b"".join(p if i in partial else p + b"\n" for i, p in enumerate(pieces))

    @property
    def ended(self) -> int:
        """How many lines have ended: a newline was put behind each partial piece as well."""
        return count_newlines(self.text) - len(self.partial)

    @property
    def goes_on(self) -> bool:
        """Whether the last piece is only a part of its line."""
        return bool(self.partial) and self.partial[-1] == count_newlines(self.text) - 1

    def split(self) -> list[bytes]:
        """Return the pieces without their ends; for the few chunks that need a closer look."""
        return self.text[:-1].split(b"\n")


# What a sink takes: pieces that its target writes in order, each whole or again.
Format = Callable[[Lines], list[bytes]]


def count_newlines(text: bytes) -> int:
    """Return how many newlines there are; `bytes.count` takes two to six times as long for lines.

    It looks at one byte after the other, and what replaces them looks for the next one.
    """
    return len(text) - len(text.replace(b"\n", b""))
