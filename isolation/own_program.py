"""Whether a command would execute the program that runs mocker, of which nobody inside may know.

Until it executes something, the command's process is a fork of mocker's Python, and /proc/self/exe
leads to that: a file of the host's, on a mount that can be written to. Whoever gets to execute it,
by a link in a root directory, the first line of a script or the loader that a program names, has it
open for as long as that runs. The kernel lets nobody write to what is being executed (ETXTBSY), but
who owns it could change its mode or its times. So what leads there is not executed.

It is looked for where it matters alone: where the owner is somebody inside. Then it is the caller's
own Python, or root shares the host's user namespace.

Source: CVE-2019-5736; execve(2), elf(5), proc(5) on /proc/PID/exe.
"""

import os
import struct
from errno import EACCES

from .errors import NOT_EXECUTABLE, CommandError
from .syscalls import AT_FDCWD, RESOLVE_NO_MAGICLINKS, openat2
from .user_mapping import UserMapping

OWN = "/proc/self/exe"
SHELL = "/bin/sh"  # which executes what has no format
_HEAD = 256  # bytes; what the kernel looks at to tell what kind of program it is
_MOST_PATH = 4096  # bytes
_LOADER = 3  # PT_INTERP
_MOST_SCRIPTS = 5  # of which one is executed by the next; the kernel takes fewer


def find_own_program(mapping: UserMapping | None) -> tuple[int, int] | None:
    """Return the device and inode of the program, if its owner is a user of the container."""
    stat = os.stat(OWN)
    if mapping is None or any(r.outside <= stat.st_uid < r.outside + r.count for r in mapping.uids):
        return stat.st_dev, stat.st_ino
    return None


def refuse_own_program(command: str, paths: tuple[str, ...], own: tuple[int, int]) -> None:
    """Raise CommandError if one of the paths of a command leads to the program that runs mocker.

    Args:
        command: What was asked for.
        paths: Where it may be.
        own: See `find_own_program`: what /proc is now may be the container's doing.
    """
    for path in (*paths, SHELL):
        if _leads_to(os.fsencode(path), own, _MOST_SCRIPTS):
            hint = f"{path} leads to the program that runs mocker"
            raise CommandError(command, EACCES, NOT_EXECUTABLE, hint)


def _leads_to(path: bytes, own: tuple[int, int], scripts: int) -> bool:
    if _is_own(path, own):
        return True
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return False
    try:
        head = os.pread(fd, _HEAD, 0).ljust(_HEAD, b"\0")  # as the kernel does
        if head.startswith(b"#!"):
            line = head[2:].partition(b"\n")[0].partition(b"\0")[0].replace(b"\t", b" ")
            script = line.strip(b" ").partition(b" ")[0]
            return scripts > 0 and _leads_to(script, own, scripts - 1)
        return _is_own(_find_loader(fd, head), own)
    except OSError:
        return False  # nothing that can be executed, such as a directory
    finally:
        os.close(fd)


def _is_own(path: bytes, own: tuple[int, int]) -> bool:
    """Whether a path leads to the program by a link of the kernel's, and not by a volume."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return False
    if (stat.st_dev, stat.st_ino) != own:
        return False
    try:
        os.close(openat2(AT_FDCWD, os.fsdecode(path), os.O_PATH, RESOLVE_NO_MAGICLINKS))
    except OSError:
        return True
    return False


def _find_loader(fd: int, head: bytes) -> bytes:
    """Return the loader that an ELF file names, of which `head` is the beginning."""
    if head[:4] != b"\x7fELF":
        return b""
    order = ">" if head[5] == 2 else "<"
    wide = head[4] == 2
    program = struct.Struct(order + ("IIQQQQQQ" if wide else "8I"))
    (table,) = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)
    (count,) = struct.unpack_from(order + "H", head, 56 if wide else 44)
    for entry in program.iter_unpack(os.pread(fd, count * program.size, table)):
        place, size = (entry[2], entry[5]) if wide else (entry[1], entry[4])
        if entry[0] == _LOADER:
            return os.pread(fd, min(size, _MOST_PATH), place).partition(b"\0")[0]
    return b""
