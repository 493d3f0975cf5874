"""The pseudoterminal of a container, opened in its own devpts.

Opened from the inside, so that the command finds its terminal as /dev/pts/0; the master side
travels to the parent, which relays. The other side is asked for through the master (TIOCGPTPEER)
and not by its path, which could have been replaced.

Source: pts(4), ioctl_tty(2).
"""

import fcntl
import os
import struct
from _collections_abc import Sequence

from .mounts import open_in_root
from .steps import Setup

_TIOCSPTLCK = 0x4004_5431
_TIOCGPTPEER = 0x5441
_TIOCSCTTY = 0x540E
_TIOCGWINSZ = 0x5413
_TIOCSWINSZ = 0x5414
_TIOCGDEV = 0x8004_5432
_MASTER = "/dev/pts/ptmx"


def open_terminal(setup: Setup) -> None:
    """Open both sides of a terminal of the container; nothing else can have it open yet."""
    flags = os.O_RDWR | os.O_NOCTTY
    setup.master_fd = open_in_root(setup.root_fd, _MASTER, flags)
    setup.slave_fd = _open_other_side(setup.master_fd)


def open_another_terminal(*, isolated: bool) -> tuple[int, int]:
    """Open both sides of a further terminal, close-on-exec; in the init, where all is in place.

    Args:
        isolated: Whether there is a container: without one, it is a terminal of the host's.

    Raises:
        OSError: There are no more to be had.
    """
    # Of the host's own, /dev/pts/ptmx is for nobody.
    path = _MASTER if isolated else "/dev/ptmx"
    master = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        return master, _open_other_side(master)
    except OSError:
        os.close(master)
        raise


def make_controlling_terminal(fd: int) -> None:
    """Give the calling session leader a controlling terminal."""
    fcntl.ioctl(fd, _TIOCSCTTY, 0)


def find_terminal(fds: Sequence[int]) -> list[int]:
    """Return the first descriptor that is a terminal, and all others that are the same one."""
    numbers = {}
    for fd in fds:
        try:
            numbers[fd] = fcntl.ioctl(fd, _TIOCGDEV, bytes(4))
        except OSError:
            continue  # not a terminal, or one that has hung up
    first = next(iter(numbers.values()), None)
    return [fd for fd, number in numbers.items() if number == first]


def copy_size(source: int, target: int) -> None:
    """Give a terminal the size of another."""
    fcntl.ioctl(target, _TIOCSWINSZ, fcntl.ioctl(source, _TIOCGWINSZ, bytes(8)))


def take_foreground() -> None:
    """Make the calling process's group the one that the terminal on a standard descriptor serves.

    The caller blocks SIGTTOU, which a background group would get for that.
    """
    for fd in (0, 1, 2):
        if os.isatty(fd):
            os.tcsetpgrp(fd, os.getpgrp())
            return


def _open_other_side(master: int) -> int:
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    return fcntl.ioctl(master, _TIOCGPTPEER, flags)
