"""Which keys were pressed, by what a terminal sends for them.

Source: console_codes(4), and what xterm sends beyond that.
"""

import re
from collections.abc import Iterator

_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])|.", re.DOTALL)
_NAMES = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1bOH": "home",
    "\x1b[1~": "home",
    "\x1b[F": "end",
    "\x1bOF": "end",
    "\x1b[4~": "end",
    "\x1b": "escape",
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x03": "ctrl-c",
    "\x1a": "ctrl-z",
}


def parse_keys(data: bytes) -> Iterator[str]:
    """Yield a name, or the character itself, for each key; what is unknown is left out."""
    for sequence in _SEQUENCE.findall(data.decode(errors="ignore")):
        if sequence in _NAMES:
            yield _NAMES[sequence]
        elif sequence.isprintable():
            yield sequence
