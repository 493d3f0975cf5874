"""A supervisor whose socket a test speaks to, as a program that need not be well-behaved."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mocker.supervisor.client.address import connect
from tests.end_to_end.processes import PATIENCE
from tests.end_to_end.supervised import Supervised, open_supervisor

MOCKER = Path(sys.executable).with_name("mocker")

_CHUNK = 2**16


class Controlled:
    """A running supervisor, and those who ask it.

    Attributes:
        run: The supervisor.
        socket: Its path.
    """

    def __init__(self, run: Supervised, directory: Path) -> None:
        self.run, self._directory = run, directory
        (self.socket,) = (directory / "mocker").glob("*.sock")

    def connect(self) -> socket.socket:
        """Return a connection, for whoever closes it."""
        connection = connect(str(self.socket))
        # The supervisor itself waits for PATIENCE until it refuses half a request.
        connection.settimeout(1.5 * PATIENCE)
        return connection

    def say(self, request: bytes) -> bytes:
        """Return what comes back until the supervisor closes, in answer to a part of HTTP."""
        with self.connect() as connection:
            with suppress(BrokenPipeError):  # it has heard enough
                connection.sendall(request)
            return read_all(connection)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, list[Any]]:
        """Return the status and the objects of an answer."""
        content = b"" if body is None else json.dumps(body).encode()
        answer = self.say(render(method, path, content))
        return read_status(answer), read_objects(answer)

    def mocker(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of `mocker` to its end."""
        with self.begin(*words) as process:
            stdout, stderr = process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)

    def begin(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command of `mocker`."""
        return subprocess.Popen(
            [MOCKER, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(self._directory)},
        )

    def read_states(self) -> dict[str, str]:
        """Return the state of each job, as `mocker ps` has it."""
        result = self.mocker("ps", "--json")
        assert not result.stderr
        return {job["name"]: job["state"] for job in json.loads(result.stdout)["jobs"]}

    def list_descriptors(self) -> list[str]:
        """Return what the supervisor has open, connections as one kind of thing."""
        targets = []
        for fd in Path(f"/proc/{self.run.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                targets.append(fd.readlink().name.partition("[")[0])
        return sorted(targets)

    def read_memory(self) -> int:
        """Return the bytes of memory that the supervisor has of its own."""
        status = Path(f"/proc/{self.run.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("RssAnon:")]
        return int(line.split()[1]) * 1024


@contextmanager
def open_controlled(
    directory: Path, text: str, wrapper: Sequence[str] = ()
) -> Iterator[Controlled]:
    """Run a supervisor on a file with this text, see `open_supervisor`, once a job is started."""
    with open_supervisor(directory, text, wrapper) as run:
        run.wait_event("job.started")
        yield Controlled(run, directory)


def render(method: str, path: str, body: bytes = b"", *more: str, version: str = "1.1") -> bytes:
    """Return a request, after whose answer the connection ends."""
    lines = [f"{method} {path} HTTP/{version}", "Host: x", "Connection: close", *more]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other end closes."""
    parts = []
    with suppress(ConnectionResetError):  # it has not taken all that it was told
        while part := connection.recv(_CHUNK):
            parts.append(part)
    return b"".join(parts)


def read_status(answer: bytes) -> int:
    """Return the status of HTTP; 0 if there is no answer."""
    return int(answer.split()[1]) if answer else 0


def read_objects(answer: bytes) -> list[Any]:
    """Return the objects that the last answer has, one a line."""
    head, _, body = answer.rpartition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        # The end of the last chunk is an empty line as well.
        head, _, body = answer.removesuffix(b"\r\n0\r\n\r\n").rpartition(b"\r\n\r\n")
    return [json.loads(line) for line in body.splitlines() if line.startswith(b"{")]
