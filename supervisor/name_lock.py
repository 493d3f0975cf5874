"""One supervisor for each name: the second one refuses.

A lock on a file, which the kernel takes back however the supervisor ends. The file itself stays: to
remove it would let two supervisors hold two files of one name.

Source: flock(2), the XDG Base Directory Specification on XDG_RUNTIME_DIR.
"""

import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class NameTakenError(Exception):
    """There is a supervisor of this name."""

    exit_code = 1


def find_runtime_directory(env: Mapping[str, str], uid: int) -> str:
    """Return where this user's supervisors keep what lasts as long as they run."""
    if env.get("XDG_RUNTIME_DIR", "").startswith("/"):
        return os.path.join(env["XDG_RUNTIME_DIR"], "mocker")
    if uid == 0 and os.access("/run", os.W_OK):
        return "/run/mocker"
    return f"/tmp/mocker-{uid}"  # noqa: S108 - its owner and mode are checked


@contextmanager
def hold_name(name: str, directory: str) -> Iterator[None]:
    """Be the only supervisor of this name for the length of a block.

    Raises:
        NameTakenError: There is one already.
        OSError: The directory cannot be used, or belongs to somebody else.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    _check_private(directory)
    path = os.path.join(directory, f"{name}.lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"cannot use the name {name!r}: supervisor {_read_pid(fd)} has it"
            raise NameTakenError(f"{text}; set another one in [supervisor]") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _check_private(directory: str) -> None:
    """Raise PermissionError if somebody else could write there: /tmp is everybody's."""
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(f"{directory} is not a directory of this user's")
    if status.st_mode & 0o077:
        os.chmod(directory, 0o700)


def _read_pid(fd: int) -> str:
    return os.pread(fd, 20, 0).decode("ascii", "replace").strip()
