"""The caller's terminal: raw while a container has it, and as it was afterwards.

It is opened anew by its name: the descriptor that the caller gave is shared with the shell, which
must not find it non-blocking when it goes on.
"""

import fcntl
import os
import termios
import tty
from types import TracebackType

_STDIN = 0


class Terminal:
    """The terminal on stdin, as a context manager that gives it back as it was found.

    Attributes:
        fd: A non-blocking descriptor of it.
    """

    def __init__(self) -> None:
        self._found = termios.tcgetattr(_STDIN)
        self.fd = _reopen(_STDIN)

    def set_raw(self) -> None:
        """Make it carry bytes only: nothing is echoed, nothing makes a signal."""
        tty.setraw(self.fd, termios.TCSADRAIN)

    def restore(self) -> None:
        """Make it what it was."""
        termios.tcsetattr(self.fd, termios.TCSADRAIN, self._found)

    def copy_size(self, target: int) -> None:
        """Give another terminal the size of this one."""
        size = fcntl.ioctl(self.fd, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.restore()
        os.close(self.fd)


def _reopen(fd: int) -> int:
    """Open the terminal of a descriptor again, so that its flags are not shared."""
    flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(os.ttyname(fd), flags)
    except OSError:
        # Another user's, as after su(1), but the one that this session is on is always open to it.
        return os.open("/dev/tty", flags)
