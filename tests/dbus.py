"""Somebody to be called by D-Bus at a socket of his own, who says what the test wants."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RETURN = b"l\2\0\1\0\0\0\0\1\0\0\0\x08\0\0\0\5\1u\0\1\0\0\0"
ERROR = b"l\3\0\1\x0e\0\0\0\1\0\0\0\x0f\0\0\0\5\1u\0\1\0\0\0\x08\1g\0\1s\0\0\x09\0\0\0not today\0"
SIGNAL = b"l\4\0\1\4\0\0\0\7\0\0\0\x08\0\0\0\x09\1u\0\1\0\0\0abcd"


def truth(is_so: bool) -> bytes:
    """Return the answer that a property is so."""
    return b"l\2\0\1\x08\0\0\0\1\0\0\0\x0f\0\0\0\5\1u\0\1\0\0\0\x08\1g\0\1v\0\0\1b\0\0" + bytes(
        [is_so, 0, 0, 0]
    )


@contextmanager
def callee(path: Path, *answers: bytes, greeting: bytes = b"OK 0123\r\n") -> Iterator[bytearray]:
    """Be called once at a socket for the length of a block; what was said is there at its end."""
    said = bytearray()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(10)
                said.extend(peer.recv(1000))
                peer.sendall(greeting)
                if not greeting.startswith(b"OK"):
                    return
                while b"BEGIN\r\nl" not in said or b"\x08\1g\0" not in said:
                    said.extend(peer.recv(1000))
                for byte in b"".join(answers):  # as slowly as an answer can arrive
                    peer.sendall(bytes([byte]))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield said
        finally:
            thread.join()
