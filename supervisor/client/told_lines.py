"""What jobs have printed, as a supervisor tells it, made into text for people.

Many lines at a time: a job may print a hundred thousand in a second. To a file or a pipe they go as
the job has printed them, byte by byte. At a terminal they may have colours, and nothing else that
would steer it. Of a line that comes in pieces each has a line of its own, with a mark, only where
something stands before it.
"""

import re
from collections.abc import Iterable, Sequence

from .exchange import ProtocolError, check_line, parse_lines

_MARK = "…"  # behind a piece whose line goes on
# A colour, which is kept; or what steers: C0 and C1, ends of lines, changes of direction.
_STEERING = re.compile(
    "(\x1b\\[[0-9;:]*m)|[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\udc80-\udcff]"
)
_RAW_STEERING = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # JSON escapes what is below
_RESET = "\x1b[0m"

Told = dict[str, object]


class LineText:
    """How lines are shown: with names at the latest when there are lines of a second job."""

    def __init__(
        self, jobs: Iterable[str], *, with_names: bool, with_time: bool, is_terminal: bool
    ) -> None:
        """Choose.

        Args:
            jobs: Of which there will be lines, as far as that is known.
            with_names: Whether names are shown from the beginning.
            with_time: Whether the time is shown.
            is_terminal: Whether a terminal shows them.
        """
        self._jobs = set(jobs)
        self._width = max(map(len, self._jobs), default=1) if with_names else 0
        self._with_time, self._is_terminal = with_time, is_terminal
        self._is_inside = False  # a line that has begun without a name

    def render(self, told: Sequence[Told]) -> bytes:
        """Return lines as they are shown.

        Raises:
            ProtocolError: They are not what a supervisor tells.
        """
        try:
            self._meet({str(each["job"]) for each in told})
            text = "".join(map(self._render, told))
            if self._is_inside and self._width:
                text = f"\n{text}"
            if text:
                self._is_inside = not text.endswith("\n")
            return text.encode(errors="surrogateescape")
        except (KeyError, UnicodeEncodeError) as error:
            raise ProtocolError(f"a line has no {error}") from error

    def _meet(self, jobs: set[str]) -> None:
        """Make room for the names of jobs of which there are lines."""
        if not jobs <= self._jobs:
            self._jobs |= jobs
            if len(self._jobs) > 1:
                self._width = max(map(len, self._jobs))

    def _render(self, told: Told) -> str:
        line = str(told["line"])
        if self._is_terminal and not line.isprintable():
            line = _make_safe(line)
        if told.get("partial"):
            if not self._width and not self._with_time:
                return line  # the rest will stand behind it
            line += _MARK
        if self._with_time:
            line = f"{told['time']} {line}"
        if self._width:
            line = f"{told['job']:{self._width}} | {line}"
        return f"{line}\n"


def parse_told(text: bytes) -> list[Told]:
    """Return the objects of a text that has one a line.

    Raises:
        AnswerError: One of them says that there will be nothing more.
        ProtocolError: It has something else.
    """
    told = parse_lines(text)
    for each in told:
        check_line(each)
    return told


def escape_steering(text: bytes) -> bytes:
    """Return the same JSON, without what would steer a terminal and may stand in it as it is."""
    return _RAW_STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text.decode()).encode()


def _make_safe(line: str) -> str:
    line = line.removesuffix("\r")
    shown = _STEERING.sub(lambda found: found[1] or _show(found[0]), line)
    return shown + _RESET if "\x1b" in shown else shown


def _show(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"  # a byte that is no UTF-8
    return ascii(character)[1:-1]
