"""The backups of a log file: web.log.1 is the newest, or web.log.1.gz, and each has its number.

To compress 50 MB takes a second, for which no line may wait: a thread does it, one for all files,
so that it takes one processor at most. Files are renumbered meanwhile as ever; what has been
compressed is found again by its inode, whatever it is called by then, and what has been dropped is
given up. A .gz file has another name until it is whole and on the disk, and only then its original
is removed: a supervisor that is killed loses nothing, and the next one compresses what it finds.

Source: rename(2); the names are supervisord's and logrotate's.
"""

import os
import stat
import threading
import zlib
from errno import EAGAIN, ENOMEM
from io import FileIO

_GZIP = 16 + zlib.MAX_WBITS  # the container that zlib(3) writes: gzip's
_LEVEL = 3  # twice as fast as gzip's own 6, for a tenth more bytes
_CHUNK = 2**18  # bytes, between two looks at whether it is still wanted
_ENDINGS = ("", ".gz")
_PATIENCE_S = 1.0  # for a chunk to be compressed, and its file to reach the disk


class Backups:
    """The backups of one file, which are beside it.

    Attributes:
        count: How many are kept.
        error: Why the latest one stays as it is; None if all is well.
    """

    def __init__(self, count: int, *, compress: bool) -> None:
        self.count = count
        self.error: OSError | None = None
        self._compress = compress
        self._path = ""
        self._renaming = threading.Lock()  # held for a moment only
        self._is_closed = False

    def follow(self, path: str) -> None:
        """Take the path of the file, without links, and compress the backups that it has."""
        if path != self._path:
            with self._renaming:
                self._path = path
            self._compress_later()

    def push(self) -> None:
        """Make the file the newest backup, and drop the oldest one if there are too many.

        Raises:
            OSError: The file is where it was.
        """
        with self._renaming:
            # Up to a free number only: after a failure, to try again drops no further backup.
            for number in range(self._find_free(), 1, -1):
                for ending in _ENDINGS:
                    _move(self._name(number - 1, ending), self._name(number, ending))
            os.rename(self._path, self._name(1))
            _remove(self._name(1, ".gz"))
        self._compress_later()

    def close(self) -> None:
        """Compress no more."""
        self._is_closed = True
        _compressor.forget(self)

    def compress(self) -> None:
        """Compress what is not compressed, the newest first; what fails is tried again later."""
        try:
            while (original := self._open_original()) is not None:
                with open(original, "rb", buffering=0) as file:
                    self._compress_file(file)
            self.error = None
        except OSError as error:
            self.error = error
        except MemoryError:
            self.error = OSError(ENOMEM, os.strerror(ENOMEM))

    def _compress_later(self) -> None:
        if not self._compress or self.count == 0:
            return
        try:
            _compressor.put(self)
        except BlockingIOError as error:
            self.error = error

    def _find_free(self) -> int:
        """Return the lowest number that is free, or the highest one."""
        for number in range(1, self.count):
            if not any(os.path.lexists(self._name(number, ending)) for ending in _ENDINGS):
                return number
        return self.count

    def _open_original(self) -> int | None:
        """Return a descriptor of the newest backup that is not compressed; None if all are."""
        with self._renaming:
            for number in range(1, self.count + 1):
                name = self._name(number)
                if not self._is_closed and _is_regular(name):
                    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return None

    def _compress_file(self, original: FileIO) -> None:
        temporary = f"{self._path}.gz.tmp"
        _remove(temporary)  # which a supervisor has left that was killed
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                compressor = zlib.compressobj(_LEVEL, wbits=_GZIP)
                while chunk := original.read(_CHUNK):
                    if self._is_closed or os.fstat(original.fileno()).st_nlink == 0:
                        return
                    file.write(compressor.compress(chunk))
                file.write(compressor.flush())
                file.flush()
                before = os.fstat(original.fileno())
                copy_access(before, file.fileno())
                os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
                os.fsync(file.fileno())
            self._replace(before, temporary)
        finally:
            _remove(temporary)

    def _replace(self, original: os.stat_result, compressed: str) -> None:
        """Put the compressed file in the place of its original, where that is by now."""
        with self._renaming:
            for number in range(1, self.count + 1):
                name = self._name(number)
                if _is_regular(name) and os.path.samestat(os.lstat(name), original):
                    os.rename(compressed, self._name(number, ".gz"))
                    os.unlink(name)
                    return

    def _name(self, number: int, ending: str = "") -> str:
        return f"{self._path}.{number}{ending}"


class _Compressor:
    """The thread that compresses backups, while there are any to be compressed."""

    def __init__(self) -> None:
        self._change = threading.Condition()  # guards what follows
        self._waiting: list[Backups] = []
        self._current: Backups | None = None
        self._is_running = False

    def put(self, backups: Backups) -> None:
        """Compress them as soon as possible.

        Raises:
            BlockingIOError: There is no thread to be had.
        """
        with self._change:
            if backups not in self._waiting:
                self._waiting.append(backups)
            if self._is_running:
                return
            try:
                threading.Thread(target=self._run, name="compress", daemon=True).start()
            except RuntimeError as error:
                self._waiting.clear()
                raise BlockingIOError(EAGAIN, os.strerror(EAGAIN)) from error
            self._is_running = True

    def forget(self, backups: Backups) -> None:
        """Return once they are left alone, or after a while in which a disk has not answered."""
        with self._change:
            if backups in self._waiting:
                self._waiting.remove(backups)
            self._change.wait_for(lambda: self._current is not backups, _PATIENCE_S)

    def _run(self) -> None:
        while True:
            with self._change:
                self._current = self._waiting.pop(0) if self._waiting else None
                self._is_running = self._current is not None
                self._change.notify_all()
                if self._current is None:
                    return
                current = self._current
            current.compress()


_compressor = _Compressor()


def copy_access(status: os.stat_result, fd: int) -> None:
    """Give a file the mode and the owner of the one that it continues, as far as one may."""
    try:
        os.fchmod(fd, status.st_mode & 0o777)
        os.fchown(fd, status.st_uid, status.st_gid)
    except OSError:
        pass  # an ordinary user cannot give a file away; some file systems have neither of both


def _move(source: str, target: str) -> None:
    """Rename a file, or remove the other one if there is none."""
    try:
        os.rename(source, target)
    except FileNotFoundError:
        _remove(target)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
