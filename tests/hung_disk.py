"""A disk that does not answer, as NFS whose server is away: whoever looks at a file there waits.

It is a file system of FUSE, from whom the kernel hears that it is there, at most what files there
are, and then nothing more. Who waits can be killed, as with NFS. It is mounted in a mount namespace
of its own, where commands can be started. With its end all who wait get an error.

    python -m tests.hung_disk DIRECTORY [PROGRAM]

Source: fuse(4), include/uapi/linux/fuse.h.
"""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINTR, ENOSYS
from pathlib import Path
from struct import Struct

from mocker.isolation.syscalls import CLONE_NEWNS, MS_REC, MS_SLAVE, mount, unshare

_REQUEST = Struct("=IIQQIIIHH")  # length, opcode, unique, node; then of no interest here
_INIT, _LOOKUP, _GETATTR, _GETXATTR, _STATX = 26, 1, 3, 22, 52
_INTERRUPT = 36
_ROOT = 1  # the node of the directory; that of the program is the next
_ANSWER = Struct("=IiQ")  # length, error, unique
_UNIQUE = Struct("=Q")
_HELLO = Struct("=IIIIHHII36x")  # version 7.31; no flags; the smallest sizes
_VALID = Struct("=QI4x")  # seconds and nanoseconds, both of them 0: nothing is remembered
_NODE = Struct("=QQQQII")  # node, generation; the rest as above, for the name and what it is
_ATTRIBUTES = Struct("=QQQ36xII20x")  # inode, size, blocks, mode, links; all times 0
_MOST = 2**17  # bytes of a request


@contextmanager
def open_hung_disk(directory: Path, program: str = "") -> Iterator[list[str]]:
    """Mount such a disk for the length of a block, and provide what starts a command before it.

    Args:
        directory: The mount point for that command and what it starts, for nobody else.
        program: The name of what is there, and does not answer who opens it; by default nothing is
            known to be there.
    """
    command = [sys.executable, "-m", "tests.hung_disk", str(directory), program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"mounted\n"
            yield ["nsenter", "--target", str(process.pid), "--mount"]
        finally:
            process.kill()


def serve(directory: str, program: str) -> None:
    """Mount it, greet the kernel, say so, and answer no more than that until killed."""
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    unshare(CLONE_NEWNS)
    mount("", "/", "", MS_REC | MS_SLAVE)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other"
    mount("hung", directory, "fuse", 0, options)
    while True:
        request = os.read(fd, _MOST)
        _, opcode, unique, node, *_ = _REQUEST.unpack_from(request)
        answer, error = b"", 0
        name = request[_REQUEST.size :].rstrip(b"\0").decode(errors="replace")
        if opcode == _INIT:
            answer = _HELLO.pack(7, 31, 0, 0, 1, 1, 2**12, 1)
        elif program and opcode == _GETATTR:
            answer = _VALID.pack(0, 0) + _render_attributes(node)
        elif program and opcode == _LOOKUP and name == program:
            answer = _NODE.pack(_ROOT + 1, 0, 0, 0, 0, 0) + _render_attributes(_ROOT + 1)
        elif program and opcode in {_GETXATTR, _STATX}:
            error = ENOSYS
        elif opcode == _INTERRUPT:  # whoever waits has got a signal
            (unique,) = _UNIQUE.unpack_from(request, _REQUEST.size)
            error = EINTR
        else:
            continue
        os.write(fd, _ANSWER.pack(_ANSWER.size + len(answer), -error, unique) + answer)
        if opcode == _INIT:
            os.write(1, b"mounted\n")


def _render_attributes(node: int) -> bytes:
    kind = stat.S_IFDIR if node == _ROOT else stat.S_IFREG
    return _ATTRIBUTES.pack(node, 2**12, 8, kind | 0o755, 1)


if __name__ == "__main__":
    serve(*sys.argv[1:])
