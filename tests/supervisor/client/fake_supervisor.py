"""What answers at a socket as a supervisor would, with what a test gives it to say."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_PATIENCE_S = 10.0


def make_answer(
    body: Mapping[str, object] | bytes, status: int = 200, version: str = "0.1.0"
) -> bytes:
    """Return the bytes of an answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} \r\nmocker-version: {version}\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


def make_refusal(status: int, code: str, message: str) -> bytes:
    """Return the bytes of an answer that refuses."""
    return make_answer({"error": {"code": code, "message": message}}, status)


def make_lines(*lines: Mapping[str, object]) -> bytes:
    """Return the bytes of an answer that has an object a line."""
    return make_answer(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


@contextmanager
def answering(directory: Path, *answers: bytes, name: str = "demo") -> Iterator[list[bytes]]:
    """Answer one connection after the other for the length of a block.

    Args:
        directory: The runtime directory of a user: XDG_RUNTIME_DIR.
        answers: One a connection.
        name: Of the supervisor.

    Returns:
        What was asked, as far as it has been.
    """
    asked: list[bytes] = []
    folder = directory / "mocker"
    folder.mkdir(mode=0o700, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / f"{name}.sock"))
    listener.listen()
    listener.settimeout(_PATIENCE_S)
    thread = threading.Thread(target=_answer, args=(listener, answers, asked))
    thread.start()
    try:
        yield asked
    finally:
        thread.join()


def _answer(listener: socket.socket, answers: tuple[bytes, ...], asked: list[bytes]) -> None:
    with listener:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(2**16))
                connection.sendall(answer)
