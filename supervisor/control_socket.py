"""Where the socket of a supervisor is, for it and for those who ask it.

A path of a socket has 107 bytes at most, and a directory may have a longer one; so both sides name
the socket through a descriptor of its directory.

Source: unix(7).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_SUFFIX = ".sock"
_EXEC_SUFFIX = ".exec"  # its twin, which carries descriptors


def name_socket(supervisor: str) -> str:
    """Return the file name of a supervisor's socket."""
    return supervisor + _SUFFIX


def name_exec_socket(supervisor: str) -> str:
    """Return the file name of the socket for who executes something in a job."""
    return supervisor + _EXEC_SUFFIX


def find_exec_socket(path: str) -> str:
    """Return the path of that, which is beside the supervisor's socket."""
    return name_exec_socket(path.removesuffix(_SUFFIX))


def list_sockets(directory: str) -> dict[str, str]:
    """Return the paths of the sockets in a directory, by the names of their supervisors."""
    try:
        files = sorted(os.listdir(directory))
    except OSError:
        return {}
    paths = {file.removesuffix(_SUFFIX): file for file in files if file.endswith(_SUFFIX)}
    return {name: os.path.join(directory, file) for name, file in paths.items()}


@contextmanager
def short_path(path: str) -> Iterator[str]:
    """Give another path of a socket for the length of a block, which is not too long.

    Raises:
        OSError: Its directory cannot be opened.
    """
    directory, name = os.path.split(path)
    fd = os.open(directory or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
