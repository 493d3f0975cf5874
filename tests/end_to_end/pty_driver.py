"""A terminal with a shell in it, typed at and looked at as a person would.

The test is the terminal emulator: it holds the master side of a pseudoterminal. The shell leads the
terminal's session, so job control, signals from keys and hanging up are the kernel's own. The
settings of the terminal are read through the other side, which nobody in there can tell.
"""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.end_to_end.processes import PATIENCE, find_descendants, watch

CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"

# Without line editing, for which bash changes the terminal's settings.
BASH = ("bash", "--norc", "--noprofile", "--noediting", "-i")
# Leaves the settings as the program before left them, where bash would repair them.
DASH = ("dash", "-i")

_PROMPT = r"<(\d+)> "  # PS1: the exit status of the command before
_OVERLAP = 2**12  # bytes; nothing that is waited for is longer
_CHUNK = 2**16  # bytes


class Answer(NamedTuple):
    """What a command line printed, and the exit status that the shell saw."""

    text: str
    status: int


class OuterTerminal:
    """A terminal and the shell in it.

    Attributes:
        path: Of the side that programs have.
        shell: The process that leads its session.
        chunk: The most bytes that are read from it at once; few make a slow terminal.
    """

    def __init__(
        self, shell: Sequence[str], rows: int, columns: int, env: Mapping[str, str]
    ) -> None:
        self.chunk = _CHUNK
        self._unread = bytearray()
        self._master, self._slave = os.openpty()
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self.resize(rows, columns)
        self._found = termios.tcgetattr(self._slave)
        self.shell = subprocess.Popen(
            # Who starts the tests in the background has made them ignore SIGINT and SIGQUIT.
            ["setsid", "--ctty", "env", "--default-signal", *shell],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=env,
        )

    def type(self, text: str) -> None:
        """Press keys; what is shown meanwhile is taken in, as an emulator does."""
        data = text.encode()
        deadline = time.monotonic() + PATIENCE
        while data:
            self._wait(deadline, "room for what is typed", writing=True)
            self._read()
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                continue

    def wait_for(self, pattern: str) -> str:
        """Wait until a pattern is shown, and return it; it counts as seen with all before it."""
        return self._find(pattern)[1][0]

    def wait_for_prompt(self) -> Answer:
        """Wait for the shell's next prompt, and return what came before."""
        text, match = self._find(_PROMPT)
        return Answer(text, int(match[1]))

    def run(self, line: str) -> Answer:
        """Type a command line, wait for the prompt after it, and return what was printed."""
        self.type(line + "\n")
        self._find("\r\n")  # the end of the line's echo
        return self.wait_for_prompt()

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))

    @property
    def is_raw(self) -> bool:
        """Whether it carries bytes only, as while a container has it."""
        flags: int = termios.tcgetattr(self._slave)[3]
        return not flags & (termios.ICANON | termios.ECHO | termios.ISIG)

    @property
    def is_as_found(self) -> bool:
        """Whether all settings are those from before the shell was started."""
        return termios.tcgetattr(self._slave) == self._found

    @property
    def is_blocking(self) -> bool:
        """Whether the shell's own descriptors wait when there is nothing to read."""
        return os.get_blocking(self._slave)  # shares its flags with those

    def hang_up(self) -> None:
        """Close the window."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def close(self) -> list[int]:
        """Hang up; kill and return the processes that go on regardless."""
        is_there = self.shell.poll() is None
        pids = [self.shell.pid, *find_descendants(self.shell.pid)] if is_there else []
        with watch(pids) as wait_ended:
            self.hang_up()
            left = wait_ended()
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        self.shell.wait()
        os.close(self._slave)
        return left

    def _find(self, pattern: str) -> tuple[str, re.Match[str]]:
        """Wait for a pattern; return all that is shown before it, and itself."""
        wanted = re.compile(pattern.encode(), re.DOTALL)
        deadline = time.monotonic() + PATIENCE
        start = 0
        while (found := wanted.search(self._unread, start)) is None:
            start = max(0, len(self._unread) - _OVERLAP)
            self._wait(deadline, pattern)
            if self._read():
                deadline = time.monotonic() + PATIENCE
        before, shown = self._unread[: found.start()].decode(), found[0].decode()
        del found  # a match holds on to what it was found in
        del self._unread[: len(before.encode()) + len(shown.encode())]
        match = re.search(pattern, shown, re.DOTALL)
        assert match is not None
        return before, match

    def _wait(self, deadline: float, what: str, *, writing: bool = False) -> None:
        remaining = max(0.0, deadline - time.monotonic())
        writers = [self._master] if writing else []
        ready, writable, _ = select.select([self._master], writers, [], remaining)
        assert ready or writable, f"no {what!r} in {bytes(self._unread[-2000:])!r}"

    def _read(self) -> bool:
        """Take in what is shown by now; return False if there is nothing new."""
        try:
            self._unread += os.read(self._master, self.chunk)
        except BlockingIOError:
            return False
        return True


@contextmanager
def open_terminal(
    shell: Sequence[str] = BASH,
    *,
    ready: str = _PROMPT,
    rows: int = 24,
    columns: int = 80,
    env: Mapping[str, str] | None = None,
) -> Iterator[OuterTerminal]:
    """Open a terminal and start a shell in it; hang up on the way out and see everybody off.

    Args:
        shell: The command line of it, or of another program.
        ready: The pattern that it shows once it is ready for what is typed.
        rows: The height of the window in characters.
        columns: The width of the window in characters.
        env: More variables for it.
    """
    defaults = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": "/",
        "TERM": "vt220",
        "PS1": "<$?> ",
    }
    terminal = OuterTerminal(shell, rows, columns, {**defaults, **(env or {})})
    try:
        terminal.wait_for(ready)
        yield terminal
    except BaseException:
        terminal.close()
        raise
    left = terminal.close()
    assert not left, f"still there after the terminal hung up: {left}"


def lead_new_terminal() -> int:
    """Make the calling process the first on a new terminal, its stdin and stdout.

    Returns:
        The emulator's side, which the caller holds too.
    """
    os.setsid()
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    os.dup2(slave, 0)
    os.dup2(slave, 1)
    os.close(slave)
    return master


def read_shown(master: int) -> str:
    """Return all that is shown by now on a terminal, from the emulator's side of it."""
    os.set_blocking(master, False)
    shown = b""
    # What is there may come in several pieces.
    while True:
        try:
            shown += os.read(master, _CHUNK)
        except BlockingIOError:
            return shown.decode()
