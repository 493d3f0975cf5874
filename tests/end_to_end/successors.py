"""A port that always leads to a supervisor, for clients that ask for what ends one or goes on.

Whoever asks for its end gets it, and an answer that goes on is ended by the end of the supervisor,
in order. The next connection leads to a new one.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGTERM

from tests.end_to_end.controlled import Controlled, open_controlled

Settle = Callable[[Controlled], None]

_CHUNK = 2**16  # bytes
_ENDLESS = (b"GET /v1/events", b"POST /v1/wait")
_FOLLOWING = (b"follow=1", b"follow=true")


class Successors:
    """Supervisors of one file, one after the other.

    Attributes:
        port: Of the loopback interface, where one connection is served at a time.
        statuses: With which those exited that were ended.
    """

    def __init__(self, listener: socket.socket, directory: Path, text: str, settle: Settle) -> None:
        self.port: int = listener.getsockname()[1]
        self.statuses: list[int] = []
        self._listener, self._settle = listener, settle
        self._directory, self._text = directory, text
        self._life = ExitStack()
        self._present: Controlled | None = None

    def run(self) -> None:
        """Serve, until nobody can connect any more."""
        with self._life:
            while True:
                try:
                    near, _ = self._listener.accept()
                except OSError:
                    return
                with near, suppress(ConnectionError):
                    self._serve(near)

    def _serve(self, near: socket.socket) -> None:
        control = self._find()
        if not (request := near.recv(_CHUNK)):
            return
        with control.connect() as far:
            far.sendall(request)
            onward = threading.Thread(target=_carry, args=(near, far))
            onward.start()
            try:
                self._answer(control, request, far, near)
            finally:
                with suppress(OSError):  # it has left
                    near.shutdown(socket.SHUT_RDWR)
                onward.join()

    def _answer(
        self, control: Controlled, request: bytes, far: socket.socket, near: socket.socket
    ) -> None:
        """Carry the answer, and end the supervisor if that alone ends it."""
        head = far.recv(_CHUNK)
        is_end = head.startswith(b"HTTP/1.1 202 ")
        if head.startswith(b"HTTP/1.1 200 ") and _is_endless(request):
            control.run.send(SIGTERM)
            is_end = True
        near.sendall(head)
        _carry(far, near)
        if is_end:
            self.statuses.append(control.run.wait_exit())
            self._life.close()
            self._present = None

    def _find(self) -> Controlled:
        """Return the present one, or start the next one."""
        if self._present is None:
            opened = open_controlled(self._directory, self._text)
            self._present = self._life.enter_context(opened)
            self._settle(self._present)
        return self._present


def _is_endless(request: bytes) -> bool:
    line = request.partition(b"\r\n")[0]
    if line.startswith(b"GET /v1/logs"):
        return any(each in line for each in _FOLLOWING)
    return line.startswith(_ENDLESS)


def _carry(source: socket.socket, target: socket.socket) -> None:
    """Carry what one end says to the other, until its end."""
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)


@contextmanager
def open_successors(directory: Path, text: str, settle: Settle) -> Iterator[Successors]:
    """Run supervisors of a file for the length of a block.

    Args:
        directory: See `open_controlled`.
        text: See `open_controlled`.
        settle: Waits until a new one can be asked.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        successors = Successors(listener, directory, text, settle)
        serving = threading.Thread(target=successors.run)
        serving.start()
        try:
            yield successors
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            serving.join()
