"""Something that answers as a supervisor does, for the commands that ask one."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

Answers = Mapping[str, object]


@contextmanager
def open_answerer(directory: Path, answers: Answers) -> Iterator[tuple[str, list[str]]]:
    """Answer requests by their paths; give the path of the socket, and what was asked for.

    Args:
        directory: For the socket.
        answers: Objects by path, which may change meanwhile.
    """
    path, asked = str(directory / "web.sock"), list[str]()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(10)
        thread = threading.Thread(target=_answer_all, args=(listener, answers, asked))
        thread.start()
        try:
            yield path, asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _answer_all(listener: socket.socket, answers: Answers, asked: list[str]) -> None:
    with suppress(OSError):
        while True:
            connected, _ = listener.accept()
            with connected, suppress(OSError):
                _answer(connected, answers, asked)


def _answer(connected: socket.socket, answers: Answers, asked: list[str]) -> None:
    request = connected.recv(2**16).decode()
    method, target = request.split(" ")[:2]
    body = request.partition("\r\n\r\n")[2]
    asked.append(f"{method} {target} {body}".rstrip())
    content = json.dumps(answers[target.partition("?")[0]]).encode() + b"\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n"
    connected.sendall(head.encode() + content)
