"""Pipes in the place of the caller's terminal, for a command that does not get one of its own.

Whoever has a terminal open can read what is typed for others, and change how it works, for as long
as anything that was started has it. So the terminal itself is lent to nobody: where only some of
the standard descriptors lead to it, a thread carries what is printed, and what is typed.

What is typed is taken as long as the terminal is as it was found. A program that reads keys, such
as a pager behind a pipe, or one that asks for a password, changes that, and has the keys then.

Source: termios(3), credentials(7).
"""

import _signal as signal
import _thread
import os
import select
import termios
from _collections_abc import Callable, Iterable, Sequence
from errno import EAGAIN

from mocker.isolation import SetupError

_CHUNK = 2**16  # bytes
_LOOK_S = 0.1  # between two looks at a terminal that somebody else reads; no signal tells
_LFLAGS = 3  # of what tcgetattr(3) returns


class TerminalPipes:
    """The pipes.

    Attributes:
        stdio: Three descriptors for the command.
    """

    def __init__(self, stdio: Sequence[int], lent: Iterable[int]) -> None:
        """Make them.

        Args:
            stdio: Three descriptors of the caller's.
            lent: Which of them are terminals that the command is not to have: 0, 1, 2.
        """
        self.stdio = list(stdio)
        self._theirs = list[int]()
        self._carriers = list[Callable[[], None]]()
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._showing = set[int]()  # of what is printed, the ends that are read
        for number in lent:
            self._add(number)

    def start(self) -> None:
        """Begin to carry; the command has its ends of the pipes.

        Raises:
            SetupError: There is no thread to be had.
        """
        while self._theirs:
            os.close(self._theirs.pop())
        try:
            while self._carriers:
                _thread.start_new_thread(self._carriers.pop(), ())
        except RuntimeError:  # too many processes
            raise SetupError("start a thread for its terminal", EAGAIN) from None

    def finish(self, signals: set[int], asks_to_end: Callable[[int], bool]) -> None:
        """Wait until all is shown that was printed by now, or a signal asks not to.

        Args:
            signals: Those that are blocked, and SIGCHLD is too.
            asks_to_end: Whether one that has come asks not to.
        """
        os.eventfd_write(self._end, 1)
        while self._showing:
            if asks_to_end(signal.sigwaitinfo(signals | {signal.SIGCHLD}).si_signo):
                return

    def _add(self, number: int) -> None:
        read_end, write_end = os.pipe()
        terminal = os.dup(self.stdio[number])  # which itself may be let go of meanwhile
        if number == 0:
            self.stdio[number] = read_end
            self._carriers.append(lambda: _type(terminal, write_end))
        else:
            self.stdio[number] = write_end
            self._carriers.append(lambda: self._show(read_end, terminal))
            self._showing.add(read_end)
        self._theirs.append(self.stdio[number])

    def _show(self, source: int, terminal: int) -> None:
        """Show what is printed, until nobody can print any more, or what is there at the end."""
        poll = select.poll()
        poll.register(source, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        try:
            while source in dict(poll.poll()) and (data := os.read(source, _CHUNK)):
                _write(terminal, data)
        except OSError:
            pass  # the terminal has hung up
        finally:
            os.close(source)
            self._showing.remove(source)
            os.kill(os.getpid(), signal.SIGCHLD)  # who waits for the end waits for signals


def _type(terminal: int, target: int) -> None:
    """Hand on what is typed, until the end of it, or until nobody is left who could read it."""
    echoes = _has_modes(terminal, termios.ECHO)
    modes = termios.ICANON | (termios.ECHO if echoes else 0)
    poll, patience = select.poll(), select.poll()
    poll.register(terminal, select.POLLIN)
    for each in (poll, patience):
        each.register(target, 0)  # tells when it has no reader
    try:
        while target not in dict(poll.poll()):
            if _is_background(terminal) or not _has_modes(terminal, modes):
                patience.poll(_LOOK_S * 1000)
            elif data := _read(terminal):
                _write(target, data)
            elif data is not None:
                break
    except OSError:
        pass  # hung up, or without a reader
    finally:
        os.close(target)


def _has_modes(terminal: int, wanted: int) -> bool:
    """Return whether these local modes are set; of one that has hung up, all are."""
    try:
        flags: int = termios.tcgetattr(terminal)[_LFLAGS]
    except termios.error:
        return True
    return flags & wanted == wanted


def _is_background(terminal: int) -> bool:
    """Return whether what is typed is for another process group."""
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:
        return False  # only in the session that it controls is there a background


def _read(terminal: int) -> bytes | None:
    """Return what is typed; nothing at the end, None if it is for somebody else by now."""
    try:
        return os.read(terminal, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        if _is_background(terminal):
            return None
        raise


def _write(target: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(target, data) :]
        except BlockingIOError:
            select.select([], [target], [])
