"""The busybox binary of the host: where it is, whether it will run alone, what it can do.

In a root that has nothing else there is no loader and no library, so it must be static.
"""

import os
import struct
from stat import S_ISREG

from .errors import SetupError
from .hints import explain

_PT_INTERP = 3  # a program header of this type names the loader of a dynamic program, elf(5)
_SEARCH_PATH = "/bin:/usr/bin:/usr/local/bin:/sbin:/usr/sbin"
_INSTALL_HINT = "install busybox-static (Debian, Ubuntu, Alpine) or busybox (Fedora, Arch)"
Stamp = tuple[str, int, int, int, int]


class Busybox:
    """A busybox that can be put into a container.

    Attributes:
        path: Of the binary, on the host.
        applets: The names it answers to.
        stamp: What tells it from another one: path, file system, inode, time of its last change in
            nanoseconds, and bytes.
    """

    __slots__ = ("applets", "path", "stamp")

    def __init__(self, stamp: Stamp, applets: tuple[str, ...]) -> None:
        self.path, self.applets, self.stamp = stamp[0], applets, stamp


_found: dict[Stamp, Busybox] = {}  # asked once for each binary in a process


def find_busybox() -> Busybox:
    """Return the first static busybox of the caller's PATH and the usual places.

    Raises:
        SetupError: There is none.
    """
    dynamic = ""
    for directory in f"{os.environ.get('PATH', '')}:{_SEARCH_PATH}".split(":"):
        path = f"{directory}/busybox"
        if directory.startswith("/") and os.access(path, os.R_OK | os.X_OK):
            stat = os.stat(path)
            stamp = path, stat.st_dev, stat.st_ino, stat.st_ctime_ns, stat.st_size
            if stamp in _found:
                return _found[stamp]
            if S_ISREG(stat.st_mode):
                if _is_static(path):
                    _found[stamp] = Busybox(stamp, _list_applets(path))
                    return _found[stamp]
                dynamic = dynamic or path
    if dynamic:
        hint = f"it is not static; {_INSTALL_HINT}"
        raise SetupError("use the busybox ", 0, dynamic, hint)
    raise SetupError("find a static busybox", hint=_INSTALL_HINT)


def default_rootfs() -> tuple[str, str]:
    """Return the root for who asked for none: "busybox" where it can be had, else "host".

    Returns:
        (rootfs, why it is not busybox), the second empty if it is.

    Raises:
        SetupError: There is a busybox, but it could not be started.
    """
    try:
        find_busybox()
    except SetupError as error:
        if error.errno:
            raise explain(error) from None  # there is one, and the kernel refused to ask it
        return "host", f"using --rootfs host: {error}"
    return "busybox", ""


def _is_static(path: str) -> bool:
    """Whether an ELF file asks for no loader; what is no whole ELF file is not static either."""
    with open(path, "rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:4] != b"\x7fELF":
            return False
        order = "<" if head[5] == 1 else ">"
        wide = head[4] == 2
        offset, size, count = (
            (
                *struct.unpack_from(order + "Q", head, 32),
                *struct.unpack_from(order + "HH", head, 54),
            )
            if wide
            else (
                *struct.unpack_from(order + "I", head, 28),
                *struct.unpack_from(order + "HH", head, 42),
            )
        )
        end = offset + size * count
        if size < 4 or not count or end > os.fstat(file.fileno()).st_size:
            return False
        file.seek(offset)
        table = file.read(size * count)
    types = (struct.unpack_from(order + "I", table, i * size)[0] for i in range(count))
    return _PT_INTERP not in types


def _list_applets(path: str) -> tuple[str, ...]:
    """Ask busybox for its applets."""
    try:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
    except OSError as error:
        raise SetupError("list the applets of ", error.errno or 0, path) from error
    try:
        pid = os.posix_spawn(
            path,
            ["busybox", "--list"],
            {},
            file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)],
            setsigmask=(),
        )
    except OSError as error:
        os.close(read_end)
        raise SetupError("list the applets of ", error.errno or 0, path) from error
    finally:
        os.close(write_end)
    with open(read_end, "rb") as file:
        names = file.read().decode("ascii", "replace").split()
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        status = 0  # a caller that ignores SIGCHLD never learns it
    if status or not names:
        raise SetupError("list the applets of ", 0, path, f"it ended with {status}")
    return tuple(n for n in names if n != "busybox" and "/" not in n)
