"""Read a small text file that somebody else wrote, whatever it turns out to be.

A FIFO must not block, a device must not be read for ever, a huge file must not fill the memory. A
failure is a ValueError with words that go on from the file's name: "cannot be read: …".
"""

import os
from stat import S_ISDIR, S_ISREG

from mocker.isolation.errors import render_reason

MAX_BYTES = 4 * 2**20  # 10,000 jobs of 400 bytes


def read_text_file(path: str, *, keep_bytes: bool = False) -> str:
    """Return what a regular file says.

    Args:
        path: Of the file.
        keep_bytes: Whether bytes that are not UTF-8 become lone surrogates ("surrogateescape"), as
            long as there is no NUL byte, which no text has.

    Raises:
        ValueError: It cannot be read, is no regular file, has over 4 MiB, or is not UTF-8.
    """
    try:
        data = _read(path)
    except OSError as error:
        raise ValueError(f"cannot be read{render_reason(error.errno or 0)}") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"cannot be read: it has more than {MAX_BYTES // 2**20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if keep_bytes and b"\0" not in data:
            return data.decode("utf-8-sig", "surrogateescape")
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not UTF-8: byte {data[error.start]:#04x} in line {line}") from None


def _read(path: str) -> bytes:
    if "\0" in path:
        raise ValueError("cannot be read: a path has no NUL byte")
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if not S_ISREG(mode):
            kind = "is a directory" if S_ISDIR(mode) else "is not a regular file"
            raise ValueError(f"cannot be read: it {kind}")
        chunks = []
        size = 0
        while size <= MAX_BYTES and (chunk := os.read(fd, MAX_BYTES + 1 - size)):
            chunks.append(chunk)
            size += len(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)
