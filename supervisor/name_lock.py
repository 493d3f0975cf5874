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
from errno import EACCES, ENOTDIR

from mocker.isolation.errors import render_reason

_RUN, _TMP, _OURS = "/run", "/tmp", "mocker"  # noqa: S108 - owners and modes are checked


class NameNotHeldError(Exception):
    """The supervisor cannot have its name; the text says why, and what to do."""

    exit_code = 1


def find_runtime_directory(env: Mapping[str, str], uid: int) -> str:
    """Return where this user's supervisors keep what lasts as long as they run."""
    chosen = _find_chosen(env, uid)
    if chosen:
        return chosen
    if uid == 0 and os.access(_RUN, os.W_OK):
        return f"{_RUN}/{_OURS}"
    return f"{_TMP}/{_OURS}-{uid}"


def list_runtime_directories(env: Mapping[str, str], uid: int) -> list[str]:
    """Return where this user's supervisors may be, the likeliest first.

    A login, a service and cron give them different places, whoever asks for them then. But where
    XDG_RUNTIME_DIR is none that a system sets, somebody wants to be apart: then only there.
    """
    chosen = _find_chosen(env, uid)
    usual = [f"{_RUN}/user/{uid}/{_OURS}", f"{_TMP}/{_OURS}-{uid}"]
    if uid == 0:
        usual.insert(1, f"{_RUN}/{_OURS}")
    if chosen and chosen not in usual:
        return [chosen]
    return sorted(usual, key=lambda directory: directory != chosen)


def _find_chosen(env: Mapping[str, str], uid: int) -> str:
    """Return the place that the environment gives; "" if it gives none that may be the user's."""
    runtime = env.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and _may_be_of(uid, runtime):
        return os.path.join(os.path.normpath(runtime), _OURS)
    return ""


def _may_be_of(uid: int, directory: str) -> bool:
    """Tell whether a directory is a user's, or nobody's yet: su may have left root somebody's."""
    try:
        return os.stat(directory).st_uid == uid
    except OSError:
        return True


@contextmanager
def hold_name(name: str, directory: str) -> Iterator[None]:
    """Be the only supervisor of this name for the length of a block.

    Raises:
        NameNotHeldError: There is one already, or the directory cannot be used.
    """
    path = os.path.join(directory, f"{name}.lock")
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        _check_private(directory)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        hint = "set XDG_RUNTIME_DIR to a directory of this user's"
        text = f"cannot hold the name {name!r} in {directory}{render_reason(error.errno or 0)}"
        raise NameNotHeldError(f"{text}; {hint}") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"cannot use the name {name!r}: supervisor {_read_pid(fd)} has it"
            raise NameNotHeldError(f"{text}; set another one in [supervisor]") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _check_private(directory: str) -> None:
    """Raise OSError if somebody else could write there: /tmp is everybody's."""
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR))
    if status.st_uid != os.geteuid():
        raise PermissionError(EACCES, os.strerror(EACCES))
    # To go through it harms nothing, and those whom another supervisor lets look have to.
    if status.st_mode & 0o066:
        os.chmod(directory, 0o700)


def _read_pid(fd: int) -> str:
    return os.pread(fd, 20, 0).decode("ascii", "replace").strip()
