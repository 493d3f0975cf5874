"""How a file is opened that lines are added to; apart because `mocker run` tries it before a start.

Source: open(2), fifo(7).
"""

import os
import stat
from errno import EDQUOT, ENOSPC, EOPNOTSUPP

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MODE = 0o640  # as docker and rsyslog have it: what a job prints is not for everybody
_DIRECTORY_MODE = 0o750


def open_log(path: str) -> int:
    """Open it, without waiting for anybody; what is not there is made, with its directory.

    Raises:
        OSError: Nothing can be added to it, or nobody reads the FIFO that it is.
    """
    # O_CREAT only where there is nothing: with it, the kernel refuses even root a FIFO of another
    # user in /tmp (fs.protected_fifos).
    try:
        return os.open(path, _FLAGS)
    except FileNotFoundError:
        pass
    try:
        return os.open(path, _FLAGS | os.O_CREAT, _MODE)
    except FileNotFoundError:
        # The directory is made, as a fresh checkout has no logs/; not the one above it, because
        # then the path is mistaken, or its disk is not mounted.
        _make_directory(os.path.dirname(os.path.realpath(path)))
        return os.open(path, _FLAGS | os.O_CREAT, _MODE)


def check_log(path: str) -> None:
    """Look whether lines could be added, without making anything or being heard by who reads.

    Raises:
        OSError: They could not, and will not by themselves.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        directory = os.path.dirname(os.path.realpath(path))
        path = directory if os.path.isdir(directory) else os.path.dirname(directory)
        flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
    else:
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            return  # what it is now, it may not be any more as it is needed
        flags = _FLAGS
    try:
        os.close(os.open(path, flags))
    except OSError as error:
        if error.errno not in {ENOSPC, EDQUOT, EOPNOTSUPP}:
            raise


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, _DIRECTORY_MODE)
    except FileExistsError:
        pass  # another job has been faster
