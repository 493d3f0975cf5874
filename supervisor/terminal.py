"""The caller's terminal: raw while a container has it, and as it was whenever it has not.

It is opened anew by its name: the descriptor that the caller gave is shared with the shell, which
must not find it non-blocking when it goes on. Only a process in the foreground may change a
terminal; the kernel stops others (SIGTTOU), so nothing is tried from the background.

Source: termios(3), credentials(7), ioctl_tty(2).
"""

import fcntl
import os
import termios
import tty

_STDIN = 0


class Terminal:
    """The terminal on stdin, as a context manager that gives it back as it was found.

    That it has hung up is no error here: whoever reads from it finds out.

    Attributes:
        fd: A descriptor of it, non-blocking unless only the caller's own can be had.
    """

    def __init__(self) -> None:
        self.fd = _reopen(_STDIN)
        self._found: list[int | list[bytes | int]] | None = None

    def in_foreground(self) -> bool:
        """Whether the calling process may read it and change it."""
        try:
            return os.tcgetpgrp(self.fd) == os.getpgrp()
        except OSError:
            return True  # only in the session that it controls is there a background

    def take(self) -> bool:
        """Make it carry bytes only: nothing is echoed, nothing makes a signal.

        Returns:
            False in the background, where it belongs to somebody else.
        """
        if not self.in_foreground():
            return False
        try:
            self._found = self._found or termios.tcgetattr(self.fd)
            tty.setraw(self.fd, termios.TCSANOW)
        except termios.error:
            pass  # hung up
        return True

    def give_back(self) -> None:
        """Make it what it was; in the background its next owner has seen to that."""
        if self._found is not None and self.in_foreground():
            try:
                termios.tcsetattr(self.fd, termios.TCSANOW, self._found)
            except termios.error:
                pass  # hung up
        self._found = None

    def read(self, most: int) -> bytes:
        """Return what is typed, at most so many bytes; nothing at the end.

        Raises:
            OSError: It has hung up, or there is nothing yet.
        """
        return os.read(self.fd, most)

    def copy_size(self, target: int) -> None:
        """Give another terminal the size of this one."""
        try:
            size = fcntl.ioctl(self.fd, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(target, termios.TIOCSWINSZ, size)
        except OSError:
            pass  # one of them has hung up

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()
        os.close(self.fd)


def _reopen(fd: int) -> int:
    """Open the terminal of a descriptor again, so that its flags are not shared."""
    flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(os.ttyname(fd), flags)
    except OSError:
        pass  # another user's, as after su(1), or of another root directory
    try:
        os.tcgetpgrp(fd)  # fails unless it is the one that this session is on, which is /dev/tty
        return os.open("/dev/tty", flags)
    except OSError:
        return os.dup(fd)
