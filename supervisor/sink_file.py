"""Append lines to a file that grows no further than it may, whatever becomes of its path meanwhile.

A file that has no room for the next line becomes a backup, and a new one begins: no line is split
between two, unless somebody else moves the file in the middle of one. Where the path leads and how
big that file is, is asked again and again, because people, logrotate (with `create` as with
`copytruncate`) and other writers change both: before each write, or often enough where one follows
another at once, as the question takes a tenth of the time of a write. What is no regular file, such
as a FIFO, a terminal or /dev/null, is never rotated.

Nothing here waits for a reader.

Source: open(2), fifo(7), writev(2).
"""

import os
import stat
from time import monotonic

import attrs

from .log_backups import Backups, copy_access
from .log_opening import open_log

_TRUST_S = 0.01  # after a look at the path; lines that come in it may still go to a removed file
_NEWLINE = b"\n"[0]
_MOST_PIECES = 1024  # that the kernel takes at a time: IOV_MAX


@attrs.frozen
class Rotation:
    """When a file becomes a backup, and what becomes of that.

    Attributes:
        max_size: Bytes that only a line longer than this exceeds; None for no limit.
        backups: How many are kept; with 0, a full file is emptied.
        compress: Whether backups become .gz files.
    """

    max_size: int | None = None
    backups: int = 0
    compress: bool = attrs.field(default=False, kw_only=True)


_NEVER = Rotation()


@attrs.define
class _Opened:
    """What a path led to when it was opened.

    Attributes:
        fd: Its descriptor.
        identity: Its device and inode.
        is_regular: Whether it has a size, and can be rotated.
        size: Bytes.
    """

    fd: int
    identity: tuple[int, int]
    is_regular: bool
    size: int


class LogFile:
    """The file at the end of a job's output.

    It is used by one thread at a time; `reopen` and `rotate_as` alone may be called from any.
    Whoever names one file twice is given the same LogFile, because two would rotate it under each
    other's hands.
    """

    may_hang = True

    def __init__(self, path: str, rotation: Rotation = _NEVER) -> None:
        """Take what the configuration says; nothing is opened yet.

        Args:
            path: Links are followed, and backups are kept beside the file that they lead to.
            rotation: Up to when it is appended to.
        """
        self._path = path
        self._rotation = self._asked_rotation = rotation
        self._backups = _make_backups(rotation)
        self._opened: _Opened | None = None
        self._trusted_until = 0.0  # by the monotonic clock
        self._is_inside_line = False
        self._is_stale = False
        self._rotation_error: OSError | None = None

    @property
    def fd(self) -> int | None:
        """What to wait for when a write was refused with EAGAIN; None if nothing is open."""
        return self._opened.fd if self._opened else None

    @property
    def trouble(self) -> OSError | None:
        """Why the file cannot be rotated, or a backup not be compressed; None if all is well.

        Lines are written all the same: the file grows over its size.
        """
        return self._rotation_error or self._backups.error

    def write(self, pieces: list[bytes]) -> tuple[list[bytes], OSError | None]:
        """Write in order, and return what is not written, and why.

        To write nothing opens the path, or opens it anew if that is due.
        """
        size, start = sum(map(len, pieces)), 0
        try:
            self._follow_rotation()
            opened = self._open_current()
            self._rotation_error = None  # what was in the way may be gone
            if size and self._has_room(opened, size):
                start = self._write_at_once(opened, pieces)
            data = b"".join(pieces) if start < size else b""
            while start < size:
                end = self._find_end(opened, data, start)
                if end == start:
                    opened = self._rotate(opened)
                    continue
                with memoryview(data) as view:
                    written = os.write(opened.fd, view[start:end])
                start += written
                opened.size += written
                self._is_inside_line = data[start - 1] != _NEWLINE
        except OSError as error:
            # What a FIFO has taken is there for its next reader, as long as it is open.
            if not isinstance(error, BlockingIOError | BrokenPipeError):
                self._close_file()  # the next time, the path may lead to what works
            return _skip(pieces, start), error
        return [], None

    def reopen(self) -> None:
        """Let the next write open the path anew."""
        self._is_stale = True

    def rotate_as(self, rotation: Rotation) -> None:
        """Let the next write, and those after it, follow what the configuration says by now."""
        self._asked_rotation = rotation

    def close(self) -> None:
        """Close the file; what is not compressed yet stays as it is, until the next start."""
        self._close_file()
        self._backups.close()

    def _follow_rotation(self) -> None:
        asked = self._asked_rotation
        if asked == self._rotation:
            return
        self._rotation = asked
        self._backups.close()
        self._backups = _make_backups(asked)
        if self._opened is not None and self._opened.is_regular:
            self._backups.follow(os.path.realpath(self._path))

    def _open_current(self) -> _Opened:
        opened = self._opened
        # A FIFO that is closed and opened anew loses what is in it, if nobody reads just then.
        is_stale, self._is_stale = self._is_stale, False  # now: it may become so again meanwhile
        if opened is not None and not (is_stale and opened.is_regular):
            now = monotonic()
            if now < self._trusted_until and not is_stale:
                return opened
            if self._is_current(opened):
                self._trusted_until = now + _TRUST_S
                return opened
        return self._open()

    def _is_current(self, opened: _Opened) -> bool:
        """Tell whether the path leads to what is open, and learn how big that is by now."""
        try:
            status = os.stat(self._path)
        except OSError:
            return False
        opened.size = status.st_size
        return (status.st_dev, status.st_ino) == opened.identity

    def _open(self) -> _Opened:
        """Open the path, in place of what is open."""
        self._close_file()
        fd = open_log(self._path)
        status = os.fstat(fd)
        identity = status.st_dev, status.st_ino
        is_regular = stat.S_ISREG(status.st_mode)
        self._opened = _Opened(fd, identity, is_regular=is_regular, size=status.st_size)
        if is_regular:
            self._backups.follow(os.path.realpath(self._path))
        return self._opened

    def _close_file(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            try:
                os.close(opened.fd)
            except OSError:
                pass  # a network's file system that has lost what it took: nobody has it any more

    def _write_at_once(self, opened: _Opened, pieces: list[bytes]) -> int:
        """Write as much as the file takes without putting it together; return how many bytes."""
        written = left = os.writev(opened.fd, pieces[:_MOST_PIECES])
        opened.size += written
        for piece in pieces:
            if left <= len(piece):
                self._is_inside_line = piece[:left][-1:] != b"\n"
                break
            left -= len(piece)
        return written

    def _has_room(self, opened: _Opened, size: int) -> bool:
        """Tell whether the file takes so many bytes before it has to be rotated."""
        max_size = self._rotation.max_size
        if max_size is None or not opened.is_regular or self._rotation_error is not None:
            return True
        return opened.size + size <= max_size

    def _find_end(self, opened: _Opened, data: bytes, start: int) -> int:
        """Return up to where the file takes the data; `start` if it has to be rotated first."""
        if self._has_room(opened, len(data) - start):
            return len(data)
        room = (self._rotation.max_size or 0) - opened.size
        end = data.rfind(b"\n", start, start + max(room, 0)) + 1
        if end:
            return end
        if opened.size and not self._is_inside_line:
            return start
        return data.find(b"\n", start) + 1 or len(data)

    def _rotate(self, opened: _Opened) -> _Opened:
        """Return an empty file, or the same one if that cannot be had."""
        if not self._is_current(opened):
            return self._open()  # it is a backup of somebody else's by now
        try:
            if self._backups.count == 0:
                os.ftruncate(opened.fd, 0)
                opened.size = 0
                return opened
            self._backups.push()
        except OSError as error:
            self._rotation_error = error
            return opened
        before = os.fstat(opened.fd)
        opened = self._open()
        copy_access(before, opened.fd)
        return opened


def _skip(pieces: list[bytes], size: int) -> list[bytes]:
    """Return what is left without the first so many bytes."""
    for index, piece in enumerate(pieces):
        if size < len(piece):
            return [piece[size:], *pieces[index + 1 :]]
        size -= len(piece)
    return []


def _make_backups(rotation: Rotation) -> Backups:
    return Backups(rotation.backups, compress=rotation.compress)
