"""Probes of what the caller brings along: descriptors, its terminal, its directory."""

import fcntl
import os
from pathlib import Path

from .kernel import call
from .probe import (
    CONTAINER,
    DESCRIPTORS,
    HOST,
    ROOT,
    SECCOMP,
    USER,
    Facts,
    NothingError,
    Wall,
    probe,
)

TIOCLINUX = 0x541C
TIOCSTI = 0x5412
_FROM_SESSION = Wall("seccomp, a new session", "no container", place=HOST, whom=(ROOT, USER))
_SESSION = Wall("a new session", "no container", place=HOST, whom=(ROOT, USER))
_ROOT_OF_ITS_OWN = Wall("mount namespace", "no container", place=HOST, whom=(ROOT, USER))
_VOLUME = Wall(
    "mount namespace",
    "-v",
    ("-v", "{hidden}:{hidden}"),
    place=CONTAINER,
    whom=(ROOT, USER),
)


@probe("B-descriptors", DESCRIPTORS, "0, 1 and 2 alone")
def count_descriptors(facts: Facts) -> None:
    """Find a descriptor that the caller left open."""
    if not facts["descriptors"]:
        raise NothingError("0, 1 and 2 alone")


@probe("B-directory", DESCRIPTORS, "EBADF")
def open_through_descriptor(facts: Facts) -> None:
    """Open a file below a directory of the host's that the caller left open."""
    os.close(os.open("canary", os.O_RDONLY, dir_fd=int(facts["directory"])))


@probe("B-cwd", _ROOT_OF_ITS_OWN, "ENOENT")
def open_in_working_directory(facts: Facts) -> None:
    """Open a file of the host's in the directory where the caller is."""
    os.close(os.open("canary", os.O_RDONLY))


@probe("B-hidden-file", _VOLUME, "ENOENT")
def open_hidden_file(facts: Facts) -> None:
    """Open a file of the caller's by its path on the host."""
    Path(facts["hidden"], "canary").read_bytes()


@probe("B-tiocsti", _FROM_SESSION, "EPERM|ENOTTY")
def type_into_terminal(facts: Facts) -> None:
    """Type into the caller's terminal with TIOCSTI."""
    fcntl.ioctl(0, TIOCSTI, b"\n")


@probe("B-tioclinux", SECCOMP, "EPERM", then="ENOTTY")
def paste_into_terminal(facts: Facts) -> None:
    """Paste into the caller's terminal with TIOCLINUX."""
    fcntl.ioctl(0, TIOCLINUX, b"\x03")


@probe("B-tioclinux-wide", SECCOMP, "EPERM", then="ENOTTY")
def paste_into_terminal_by_wide_number(facts: Facts) -> None:
    """Paste there by a number with bits that the kernel ignores, and a filter may not."""
    call("ioctl", 0, TIOCLINUX | 1 << 32, b"\x03")


@probe("B-tty", _SESSION, "ENXIO")
def open_terminal_of_caller(facts: Facts) -> None:
    """Open the caller's terminal as /dev/tty."""
    os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))


@probe("B-pts", _ROOT_OF_ITS_OWN, "ENOENT")
def open_terminal_of_host(facts: Facts) -> None:
    """Open a terminal of the host's by its path."""
    os.close(os.open(facts["terminal"], os.O_RDWR | os.O_NOCTTY))
