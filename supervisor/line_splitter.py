"""Where lines end in a stream of bytes that comes in chunks.

What comes out is text of whole lines, each ended by a newline, still in one piece: nothing is done
for a line alone, because there may be a million in a second. A line that is too long is cut, so
that no more of it is ever kept; which pieces are only a part of a line is told beside the text,
because each sink has its own way to say so.
"""

from codecs import utf_8_decode
from typing import NamedTuple

_CONTINUATION, _KIND = 0b1000_0000, 0b1100_0000  # of a byte in UTF-8
_LONGEST_CHARACTER = 4  # bytes


class Pieces(NamedTuple):
    """What came out of a stream; `Lines` has the meaning of each."""

    text: bytes
    partial: tuple[int, ...] = ()
    continues: bool = False


class LineSplitter:
    """The lines of one stream, and what has come of the next one."""

    def __init__(self, most: int) -> None:
        """Begin a stream.

        Args:
            most: Bytes of a piece, its end apart; a line that is longer is cut.
        """
        self._most = most
        self._rest = b""
        self._is_cut = False  # whether what came out last is a part of a line that goes on

    @property
    def is_inside_line(self) -> bool:
        """Whether something has come that is not out yet."""
        return bool(self._rest)

    def feed(self, memory: bytes | bytearray, size: int) -> Pieces:
        """Take what comes next, and return the lines that are complete; maybe none.

        Each byte is copied once, and nothing of the memory is kept.

        Args:
            memory: What comes is at its beginning.
            size: Bytes of that, at least one.
        """
        end = memory.rfind(b"\n", 0, size) + 1
        is_too_long = size - end + (0 if end else len(self._rest)) > self._most
        with memoryview(memory) as chunk:
            taken = size if is_too_long else end
            if not taken:
                self._rest += chunk[:size]
                return Pieces(b"")
            text = b"".join((self._rest, chunk[:taken]))
            self._rest = bytes(chunk[taken:size])
        partial: tuple[int, ...] = ()
        if len(text) > self._most:
            text, partial = _cut(text, self._most)
        if is_too_long:
            end = text.rfind(b"\n") + 1
            text, self._rest = text[:end], text[end:]
        continues = self._is_cut
        self._is_cut = bool(partial) and partial[-1] == text.count(b"\n") - 1
        return Pieces(text, partial, continues)

    def cut(self, *, goes_on: bool = False) -> Pieces:
        """Return what has come of a line as a piece of it: the rest is late, or will not come.

        Args:
            goes_on: Whether more may come, so that a character of which a part is missing stays
                for the next piece. If there is nothing else, it is late itself.
        """
        if not self._rest:
            return Pieces(b"")
        text, self._rest = self._rest, b""
        if goes_on and (size := _measure_whole(text)):
            text, self._rest = text[:size], text[size:]
        continues, self._is_cut = self._is_cut, True
        return Pieces(text + b"\n", (0,), continues)


def _cut(text: bytes, most: int) -> tuple[bytes, tuple[int, ...]]:
    """Cut lines that are too long, also one without an end yet; return which pieces are partial."""
    pieces: list[bytes] = []
    partial: list[int] = []
    begin = start = 0  # of what is not in a piece yet; of the line that is looked at
    newlines = 0  # before `begin`, those of the cuts as well
    while len(text) - start > most:
        # The last line end within reach: lines before it are short enough.
        newline = text.rfind(b"\n", start, start + most + 1)
        if newline >= 0:
            start = newline + 1
            continue
        start = _between_characters(text, start + most)
        pieces += [text[begin:start], b"\n"]
        newlines += text.count(b"\n", begin, start)
        partial.append(newlines)
        newlines += 1
        begin = start
    if not partial:
        return text, ()
    pieces.append(text[begin:])
    return b"".join(pieces), tuple(partial)


def _between_characters(text: bytes, at: int) -> int:
    """Return where a character of UTF-8 begins, at `at` or just before; `at` in other bytes."""
    for place in range(at, at - _LONGEST_CHARACTER, -1):
        if text[place] & _KIND != _CONTINUATION:
            return place
    return at


def _measure_whole(text: bytes) -> int:
    """Return how many bytes there are before a character of UTF-8 that has not come to its end."""
    end = text[1 - _LONGEST_CHARACTER :]
    _, whole = utf_8_decode(end, "ignore")
    return len(text) - len(end) + whole
