"""Where lines end in a stream of bytes that comes in chunks.

What comes out is text of whole lines, each ended by a newline, still in one piece: nothing is done
for a line alone, because there may be a million in a second. A line that is too long is cut, so
that no more of it is ever kept; each piece that is not the last ends in a mark.
"""

MARK = "…".encode()

_MOST = 2**14  # bytes of a line; a quarter of a chunk, and more than a screen
_CONTINUATION, _KIND = 0b1000_0000, 0b1100_0000  # of a byte in UTF-8
_LONGEST_CHARACTER = 4  # bytes


class LineSplitter:
    """The lines of one stream, and what has come of the next one."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_cut = False  # whether what came last has gone out already, without its end

    @property
    def is_inside_line(self) -> bool:
        """Whether something has come that is not out yet."""
        return bool(self._rest)

    def feed(self, chunk: bytes) -> bytes:
        """Take what comes next, not empty, and return the lines that are complete; maybe none."""
        if self._is_cut:
            chunk = chunk.removeprefix(b"\n")  # which ends what is out already
            self._is_cut = False
        text = self._rest + chunk
        if len(text) > _MOST:
            text = _cut(text)
        end = text.rfind(b"\n") + 1
        self._rest = text[end:]
        return text[:end]

    def cut(self) -> bytes:
        """Return what has come of a line as a piece of it, without waiting for the rest."""
        text, self._rest = self._rest, b""
        self._is_cut = bool(text)
        return text and text + MARK + b"\n"

    def finish(self) -> bytes:
        """Return what is left at the end of the stream as a line; nothing if it ends with one."""
        text, self._rest = self._rest, b""
        return text and text + b"\n"


def _cut(text: bytes) -> bytes:
    """Cut lines that are too long, also one that has no end yet."""
    pieces = []
    begin = start = 0  # of what is not in a piece yet; of the line that is looked at
    while len(text) - start > _MOST:
        # The last line end within reach: lines before it are short enough.
        newline = text.rfind(b"\n", start, start + _MOST + 1)
        if newline >= 0:
            start = newline + 1
            continue
        start = _between_characters(text, start + _MOST)
        pieces += [text[begin:start], MARK, b"\n"]
        begin = start
    pieces.append(text[begin:])
    return b"".join(pieces)


def _between_characters(text: bytes, at: int) -> int:
    """Return where a character of UTF-8 begins, at `at` or just before; `at` in other bytes."""
    for place in range(at, at - _LONGEST_CHARACTER, -1):
        if text[place] & _KIND != _CONTINUATION:
            return place
    return at
