"""A disk that does not answer: who opens a text file waits until the test lets that go on.

The supervisor is run under a seccomp filter that asks this process about one call alone, with the
flags of `text_file`, which nothing else uses together. The filter's descriptor comes by a socket.

Source: seccomp_unotify(2), linux/seccomp.h, bpf(2).
"""

import ctypes
import fcntl
import os
import select
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mocker.isolation.syscalls import PR_SET_NO_NEW_PRIVS, prctl
from tests.end_to_end.processes import PATIENCE
from tests.refusals import (
    BPF_JEQ_K,
    BPF_LD_W_ABS,
    BPF_RET_K,
    SECCOMP_DATA_ARG0,
    SECCOMP_DATA_NR,
    SECCOMP_RET_ALLOW,
)

OPENAT, SECCOMP = {"x86_64": (257, 317), "aarch64": (56, 277)}[os.uname().machine]
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 8
SECCOMP_RET_USER_NOTIF = 0x7FC0_0000
SECCOMP_IOCTL_NOTIF_RECV = 0xC050_2100
SECCOMP_IOCTL_NOTIF_SEND = 0xC018_2101
SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1
FLAGS_ARGUMENT = SECCOMP_DATA_ARG0 + 2 * 8
FILTER = [
    (BPF_LD_W_ABS, 0, 0, SECCOMP_DATA_NR),
    (BPF_JEQ_K, 0, 3, OPENAT),
    (BPF_LD_W_ABS, 0, 0, FLAGS_ARGUMENT),
    (BPF_JEQ_K, 0, 1, FLAGS),
    (BPF_RET_K, 0, 0, SECCOMP_RET_USER_NOTIF),
    (BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW),
]
REQUEST, ANSWER = struct.Struct("=QIIiIQ6Q"), struct.Struct("=QqiI")


class LateOpens:
    """What opens text files, and waits while this is shut.

    Attributes:
        wrapper: A command that runs another one under the filter.
    """

    def __init__(self, listening: socket.socket) -> None:
        """Let everything through."""
        name = listening.getsockname().hex()
        self.wrapper = [sys.executable, "-m", __name__, name]
        self._listening = listening
        self._is_open, self._has_come, self._is_over = (threading.Event() for _ in range(3))
        self._is_open.set()

    def shut(self) -> None:
        """Let those who come from now on wait."""
        self._has_come.clear()
        self._is_open.clear()

    def wait_caller(self) -> None:
        """Wait until somebody waits."""
        assert self._has_come.wait(PATIENCE)

    def open(self) -> None:
        self._is_open.set()

    def end(self) -> None:
        """Ask nobody any more; who asks after that waits for ever."""
        self._is_over.set()
        self._is_open.set()

    def run(self) -> None:
        """Answer, until the end."""
        connection, _ = self._listening.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 1, 1)
        (fd,) = fds
        try:
            while not self._is_over.is_set():
                if select.select([fd], [], [], 0.05)[0]:
                    self._answer(fd)
        finally:
            os.close(fd)

    def _answer(self, fd: int) -> None:
        with suppress(FileNotFoundError):  # who asked has been killed
            request = bytearray(REQUEST.size)
            fcntl.ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, request)
            if not self._is_open.is_set():
                self._has_come.set()
                self._is_open.wait()
            answer = ANSWER.pack(REQUEST.unpack(request)[0], 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)
            fcntl.ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, answer)


@contextmanager
def open_late_opens() -> Iterator[LateOpens]:
    """Provide what the wrapped command, which must be run in the block, opens text files by."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("")  # an abstract name of the kernel's choice
        listening.listen()
        listening.settimeout(PATIENCE)
        opens = LateOpens(listening)
        answering = threading.Thread(target=opens.run)
        answering.start()
        try:
            yield opens
        finally:
            opens.end()
            answering.join()


def listen_to_opens() -> int:
    """Put the calling process under the filter, and return what its questions are read from."""
    if os.geteuid() != 0:
        prctl(PR_SET_NO_NEW_PRIVS, 1)  # the kernel's condition for who is not privileged
    instructions = b"".join(struct.pack("=HBBI", *line) for line in FILTER)
    buffer = ctypes.create_string_buffer(instructions)
    program = struct.pack("@HP", len(FILTER), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.syscall(
        SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, program
    )
    if fd < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return fd


def main() -> None:
    name, *command = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(bytes.fromhex(name))
        socket.send_fds(connection, [b"-"], [listen_to_opens()])
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
