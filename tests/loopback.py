"""A port of the loopback interface that leads to a Unix socket, for clients that know no other."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CHUNK = 2**16  # bytes


@contextmanager
def open_loopback(path: Path) -> Iterator[int]:
    """Give a port for the length of a block, each connection to which is one to the socket."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=_accept, args=(listener, path, threads))
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
    for thread in threads:
        thread.join()


def _accept(listener: socket.socket, path: Path, threads: list[threading.Thread]) -> None:
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            threads.append(threading.Thread(target=_join, args=(near, path)))
            threads[-1].start()


def _join(near: socket.socket, path: Path) -> None:
    with near, socket.socket(socket.AF_UNIX) as far, suppress(OSError):
        far.connect(str(path))
        back = threading.Thread(target=_carry, args=(far, near))
        back.start()
        _carry(near, far)
        # Who has nothing more to say is taken to be gone.
        far.shutdown(socket.SHUT_RDWR)
        back.join()


def _carry(source: socket.socket, target: socket.socket) -> None:
    """Carry what one end says to the other, until its end."""
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
