"""A scope of its own from systemd, delegated, for a process that has no delegated cgroup.

Who moves into another cgroup by itself needs to own everything up to what both have in common; an
ordinary user does not, but its service manager can ask that of the machine's. So the manager is
told to start a scope with the process in it, as systemd-run(1) does with `--scope`; the scope goes
away with the last process in it.

The manager is asked over its private socket, which it has with and without a message bus. What is
said there is D-Bus, of which this module knows as much as one call takes.

Source: org.freedesktop.systemd1(5), systemd.resource-control(5) "Delegate=", systemd's
CGROUP_DELEGATION.md; the D-Bus specification, "Marshaling" and "Message Protocol".
"""

import _socket as socket
import os
import time
from _collections_abc import Callable, Iterable, Sequence
from errno import ETIMEDOUT
from struct import Struct
from sys import byteorder

from .errors import SetupError

_PATIENCE_S = 10.0  # for a manager that is busy, such as while the machine boots
_POLL_S = 0.005
_STEP = "start a scope of systemd's"
_BOOTED = "/run/systemd/system"  # sd_booted(3)
_NUMBER = Struct("=I")
_HEAD = Struct("=cBBBIII")  # order of bytes, kind, flags, version; sizes of body and of fields
_CALL, _RETURN, _ERROR = 1, 2, 3
_SERIAL = 1
_FIELDS = (
    (1, "o", "/org/freedesktop/systemd1"),
    (2, "s", "org.freedesktop.systemd1.Manager"),
    (3, "s", "StartTransientUnit"),
    (8, "g", "ssa(sv)a(sa(sv))"),
)
_MOST_LINE = 512  # bytes of the answer to who is there
_MOST_TEXT = 2**16  # bytes of any other


def find_manager() -> str:
    """Return the private socket of the caller's service manager; nothing if there is none."""
    uid = os.geteuid()
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    path = f"{runtime}/systemd/private" if uid else "/run/systemd/private"
    return path if os.path.isdir(_BOOTED) and os.path.exists(path) else ""


def start_scope(manager: str, pids: Sequence[int]) -> None:
    """Move processes into a new scope, delegated with all controllers; returns when they are there.

    Args:
        manager: The socket, as `find_manager` has it.
        pids: Of the caller's own processes.

    Raises:
        SetupError: The manager refuses, or can't be asked.
    """
    name = f"mocker-{pids[0]}-{os.urandom(4).hex()}.scope"
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        peer.settimeout(_PATIENCE_S)
        peer.connect(manager)
        _say_who_it_is(peer)
        peer.sendall(render_call(name, pids))
        refusal = _receive_answer(peer)
    except OSError as error:
        raise SetupError(_STEP, error.errno or ETIMEDOUT, manager) from error
    finally:
        peer.close()
    if refusal:
        raise SetupError(_STEP, hint=f"it says: {refusal}")
    _wait_moved(name, pids)


def render_call(name: str, pids: Iterable[int]) -> bytes:
    """Return the message that asks for a scope."""
    properties: list[tuple[str, str, Callable[[bytearray], None]]] = [
        ("Description", "s", lambda body: _add_text(body, "containers of mocker")),
        ("PIDs", "au", lambda body: _add_array(body, 4, [_number(pid) for pid in pids])),
        ("Delegate", "b", _number(1)),
        ("CollectMode", "s", lambda body: _add_text(body, "inactive-or-failed")),
    ]
    body = bytearray()
    _add_text(body, name)
    _add_text(body, "fail")
    _add_array(body, 8, [_variant(*found) for found in properties])
    _add_array(body, 8, [])
    fields = bytearray()
    for code, kind, text in _FIELDS:
        _pad(fields, 8)
        fields.append(code)
        _add_signature(fields, kind)
        (_add_signature if kind == "g" else _add_text)(fields, text)
    order = b"l" if byteorder == "little" else b"B"
    message = bytearray(_HEAD.pack(order, _CALL, 0, 1, len(body), _SERIAL, len(fields)))
    message += fields
    _pad(message, 8)
    return bytes(message + body)


def _say_who_it_is(peer: socket.socket) -> None:
    uid = str(os.geteuid()).encode().hex().encode()
    peer.sendall(b"\0AUTH EXTERNAL " + uid + b"\r\n")
    answer = b""
    while not answer.endswith(b"\r\n") and len(answer) < _MOST_LINE:
        answer += _receive(peer, 1)
    if not answer.startswith(b"OK "):
        raise SetupError(_STEP, hint=f"it says: {answer.decode('utf-8', 'replace').strip()}")
    peer.sendall(b"BEGIN\r\n")


def _receive_answer(peer: socket.socket) -> str:
    """Return why the call was refused, nothing if it was not; what else arrives is passed over."""
    while True:
        _, kind, _, _, size, _, fields_size = _HEAD.unpack(_receive(peer, _HEAD.size))
        if max(size, fields_size) > _MOST_TEXT:
            raise SetupError(_STEP, hint="its answer is too long")
        _receive(peer, fields_size + -fields_size % 8)
        body = _receive(peer, size)
        if kind == _RETURN:
            return ""
        if kind == _ERROR:
            return body[_NUMBER.size :].rstrip(b"\0").decode("utf-8", "replace") or "no"


def _receive(peer: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        chunk = peer.recv(size - len(content))
        if not chunk:
            raise SetupError(_STEP, hint="it hangs up")
        content += chunk
    return content


def _wait_moved(name: str, pids: Sequence[int]) -> None:
    """Wait until processes are in a scope: the answer tells that the job is queued."""
    deadline = time.monotonic() + _PATIENCE_S
    while not all(_is_inside(pid, name) for pid in pids):
        if time.monotonic() > deadline:
            raise SetupError(_STEP, hint=f"{name} has not begun after {_PATIENCE_S:.0f} s")
        time.sleep(_POLL_S)


def _is_inside(pid: int, name: str) -> bool:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        return any(line.startswith("0::") and line.rstrip().endswith(f"/{name}") for line in file)


def _variant(
    name: str, signature: str, add: Callable[[bytearray], None]
) -> Callable[[bytearray], None]:
    def add_property(body: bytearray) -> None:
        _add_text(body, name)
        _add_signature(body, signature)
        add(body)

    return add_property


def _number(number: int) -> Callable[[bytearray], None]:
    def add(body: bytearray) -> None:
        _pad(body, 4)
        body += _NUMBER.pack(number)

    return add


def _add_text(body: bytearray, text: str) -> None:
    _pad(body, 4)
    data = text.encode()
    body += _NUMBER.pack(len(data)) + data + b"\0"


def _add_signature(body: bytearray, text: str) -> None:
    body += bytes([len(text)]) + text.encode() + b"\0"


def _add_array(
    body: bytearray, alignment: int, items: Iterable[Callable[[bytearray], None]]
) -> None:
    _pad(body, 4)
    place = len(body)
    body += bytes(_NUMBER.size)
    _pad(body, alignment)
    start = len(body)
    for add in items:
        _pad(body, alignment)
        add(body)
    _NUMBER.pack_into(body, place, len(body) - start)


def _pad(body: bytearray, alignment: int) -> None:
    body += bytes(-len(body) % alignment)
