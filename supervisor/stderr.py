"""What a command says to the person who called: lines on stderr, whatever they contain."""

import os


def write_line(text: str) -> None:
    """Write one line, for people; nothing happens where stderr is closed or full."""
    # Not print(): where stderr is closed, that would write to stdout.
    try:
        os.write(2, f"{make_printable(text)}\n".encode())
    except OSError:
        pass  # nobody can be told, and the exit status still says it


def make_printable(text: str) -> str:
    """Return the text as one line that means nothing to a terminal, whatever a file is called."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
