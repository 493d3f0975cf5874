"""What parent, init and command tell one another while a container comes to be.

      parent                       init (PID 1)                     command
        │  clone3                      │                               │
        ├─────────────────────────────▶│                               │
        │  write ID maps               │                               │
        │  ─── control: GO + trees ───▶│                               │
        │                              │ steps of the plan             │
        │  ◀── control: TERMINAL+fd ───│ (only with a terminal)        │
        │                              │  clone3                       │
        │                              ├──────────────────────────────▶│
        │                              │  write ID maps                │
        │  ◀── control: NOTIFY+fd ─────│ (only with such a socket)     │
        │  ◀── control: READY ─────────│                               │
        │                              │  ─── eventfd: go on ─────────▶│ user, limits, …
        │  ◀───────────── report: end of file ─────────────────────────┤ execve succeeded
        │  ◀───────────── report: a failure ───────────────────────────┤ or any step failed
        │                              │◀──────────────────────────────┘
        │  ◀── control: EXITED, … ─────│
        ▼                              ▼

Through a fork server the clone is its `cloner`'s, what is sent up to GO its planner's (the tape
comes before that), and all that is received the program's.

The report is a pipe whose write end is close-on-exec and held by the init only until the command is
told to go on. The control socket keeps messages apart (SOCK_SEQPACKET) and carries descriptors. Its
end is also how each side notices that the other is gone.
"""

import _socket as socket
import os
import struct
from _collections_abc import Iterable, Sequence

from .errors import CommandError, IsolationError, SetupError
from .exit_status import ExitStatus

_QUIETLY = int(socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)

GO = b"go"
_TREES = b"trees"
_TERMINAL = b"terminal"
_NOTIFY = b"notify"
READY = b"ready"

_FD = struct.Struct("i")
_MAX_FDS = 250  # SCM_MAX_FD of the kernel is 253
MAX_FAILURE = 2**16  # bytes; what a pipe holds, and more than two paths, or what newuidmap said
_MOST_SURVIVORS = 2**14  # bytes; more processes than anybody reads
_MOST_TEXT = 2**14  # characters of a failure, of four bytes at most


def send_go(control: socket.socket, trees: list[int]) -> None:
    """Tell the init to begin, with the trees of the host that it is to attach."""
    for start in range(0, len(trees), _MAX_FDS):
        send_with_fds(control, _TREES, trees[start : start + _MAX_FDS])
    control.send(GO)


def send_refusal(control: socket.socket, error: SetupError) -> None:
    """Tell the init that the parent could not do its part, which it then reports as a failure."""
    try:
        control.send(render_failure(error), _QUIETLY)
    except OSError:
        pass  # it was killed, which its silent report says


def receive_go(control: socket.socket) -> list[int]:
    """Wait for the parent, and return the trees that it sent.

    Raises:
        EOFError: The parent is gone.
        IsolationError: The parent could not do its part.
    """
    trees: list[int] = []
    while True:
        message, fds = receive_with_fds(control, MAX_FAILURE, _MAX_FDS)
        trees += fds
        if message != _TREES:
            check_go(message)
            return trees


def check_go(message: bytes) -> None:
    """Return if the parent said "go".

    Raises:
        EOFError: It is gone.
        IsolationError: It could not do its part.
    """
    if not message:
        raise EOFError
    if message != GO:
        raise parse_failure(message)


def send_failure(report: int, error: IsolationError) -> None:
    """Write why the container did not come to be, from the child's side."""
    os.write(report, render_failure(error))


def receive_failure(report: int) -> IsolationError | None:
    """Wait until the command is executed (None), or until something failed (why)."""
    chunks = []
    while chunk := os.read(report, MAX_FAILURE):
        chunks.append(chunk)
    return parse_failure(b"".join(chunks)) if chunks else None


def receive_ready(control: socket.socket) -> bool:
    """Tell whether the report ended because the command is executed, not because the init died."""
    return receive_message(control) == READY


def send_exit(control: socket.socket, status: ExitStatus) -> None:
    """Tell the parent how the command ended, if it still listens."""
    _send_quietly(control, render_status(status))


def send_survivors(control: socket.socket, survivors: Iterable[tuple[int, str]]) -> None:
    """Tell the parent what has to be killed: process IDs in the container, and command lines."""
    lines = (f"{pid} {title}" for pid, title in survivors)
    text = "\0".join(["survivors", *lines, ""]).encode("utf-8", "surrogateescape")
    # What does not fit is left out from the last whole line on: half a number is another process.
    _send_quietly(control, text[: text.rindex(b"\0", 0, _MOST_SURVIVORS)])


def parse_survivors(message: bytes) -> list[tuple[int, str]]:
    """Return what a SURVIVORS message says, nothing for any other."""
    word, *lines = message.decode("utf-8", "replace").split("\0")
    if word != "survivors":
        return []
    pairs = (line.partition(" ") for line in lines)
    return [(int(pid), title) for pid, _, title in pairs if pid.isdecimal()]


def render_status(status: ExitStatus) -> bytes:
    """Return the message that says how something ended; `parse_status` undoes it."""
    if status.code is not None:
        return b"exited %d" % status.code
    return b"killed %d" % (status.signal or 0)


def send_stopped(control: socket.socket, signal: int) -> None:
    """Tell the parent that a signal stopped the command, as job control does."""
    _send_quietly(control, render_stopped(signal))


def render_stopped(signal: int) -> bytes:
    """Return the message that says that a signal has stopped something."""
    return b"stopped %d" % signal


def parse_status(message: bytes) -> ExitStatus | None:
    """Return what an EXITED message says, None for any other."""
    word, _, number = message.decode("utf-8", "replace").partition(" ")
    if word == "exited":
        return ExitStatus(code=int(number))
    if word == "killed":
        return ExitStatus(signal=int(number))
    return None


def parse_stopped(message: bytes) -> int:
    """Return the signal that a STOPPED message names, 0 for any other message."""
    word, _, number = message.decode("utf-8", "replace").partition(" ")
    return int(number) if word == "stopped" else 0


def receive_message(control: socket.socket) -> bytes:
    """Return the next message of the init without waiting; nothing if there is none.

    A socket whose other end is gone, and has not read everything, says ECONNRESET once, before the
    messages that are still there.
    """
    try:
        return control.recv(MAX_FAILURE, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""
    except ConnectionResetError:
        return receive_message(control)


def send_terminal(control: socket.socket, master: int) -> None:
    """Hand the parent its side of the container's terminal."""
    send_with_fds(control, _TERMINAL, [master])


def send_notify(control: socket.socket, fd: int) -> None:
    """Hand the parent the socket that the command's sd_notify(3) writes to."""
    send_with_fds(control, _NOTIFY, [fd])


def receive_terminal(control: socket.socket) -> int:
    """Return the parent's side of the container's terminal; it is there once the command is."""
    return _receive_fd(control, "open a terminal")


def receive_notify(control: socket.socket) -> int:
    """Return the socket for sd_notify(3); it is there once the command is."""
    return _receive_fd(control, "open a socket for sd_notify")


def _receive_fd(control: socket.socket, step: str) -> int:
    _, fds = receive_with_fds(control, MAX_FAILURE, 1)
    if not fds:
        raise SetupError(step, hint="the init ended first")
    return fds[0]


def send_with_fds(peer: socket.socket, message: bytes, fds: Sequence[int], flags: int = 0) -> None:
    """Send a message and descriptors, which travel with its first byte.

    Without SIGPIPE: an init, which blocks all signals, would take it for one to hand on.
    """
    data = b"".join(map(_FD.pack, fds))
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, data)]
    peer.sendmsg([message], ancillary, socket.MSG_NOSIGNAL | flags)


def receive_with_fds(
    peer: socket.socket, size: int, most: int, flags: int = 0
) -> tuple[bytes, list[int]]:
    """Wait for a message and its descriptors, close-on-exec; nothing if the other end is gone.

    Python's socket.recv_fds cannot: it takes flags and does not hand them on.
    """
    room = socket.CMSG_LEN(most * _FD.size)
    try:
        message, parts, _, _ = peer.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC | flags)
    except ConnectionResetError:  # said once, see `receive_message`
        return receive_with_fds(peer, size, most, flags)
    return message, [fd for _, _, data in parts for (fd,) in _FD.iter_unpack(data)]


def render_failure(error: IsolationError) -> bytes:
    """Return the message that says why something failed; `parse_failure` undoes it."""
    fields: tuple[object, ...]
    if isinstance(error, CommandError):
        fields = ("command", error.command, error.errno, error.exit_code, error.hint)
    elif isinstance(error, SetupError):
        fields = ("setup", error.step, error.errno, error.path, error.hint)
    else:
        fields = ("setup", str(error), 0, "", "")
    texts = [str(field).replace("\0", "\\0") for field in fields]
    if sum(map(len, texts)) > _MOST_TEXT:  # a command may be megabytes long
        texts = [text[: _MOST_TEXT // len(texts)] for text in texts]
    return "\0".join(texts).encode("utf-8", "surrogatepass")


def parse_failure(record: bytes) -> IsolationError:
    """Return the error that a message of the other side says."""
    kind, first, second, third, hint = record.decode("utf-8", "surrogatepass").split("\0")
    if kind == "command":
        return CommandError(first, int(second), int(third), hint)
    return SetupError(first, int(second), third, hint)


def _send_quietly(control: socket.socket, message: bytes) -> None:
    try:
        control.send(message, _QUIETLY)
    except OSError:
        pass  # the parent is gone or does not listen; the exit code says the same
