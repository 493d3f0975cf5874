"""One call of D-Bus, to who listens at a socket of its own: a service manager of systemd.

As much of D-Bus as that takes: no bus in between, texts and numbers, one answer. So it works where
no bus runs, and costs less than starting a program that has all of it.

Source: the D-Bus specification, "Authentication Protocol", "Marshaling" and "Message Protocol".
"""

import _socket as socket
import os
import time
from _collections_abc import Callable, Iterable
from errno import ETIMEDOUT
from struct import Struct
from sys import byteorder

from .errors import SetupError

Value = Callable[[bytearray], None]  # writes itself to where a message goes on

_PATIENCE_S = 10.0  # for a manager that is busy, such as while the machine boots
_NUMBER = Struct("=I")
_HEAD = Struct("=cBBBIII")  # order of bytes, kind, flags, version; sizes of body and of fields
_CALL, _RETURN, _ERROR = 1, 2, 3
_VERSION, _SERIAL = 1, 1
_PATH, _INTERFACE, _MEMBER, _SIGNATURE = 1, 2, 3, 8
_MOST_LINE = 512  # bytes of the answer to who is there
_MOST_TEXT = 2**16  # bytes of any other


class Method:
    """What is called.

    Attributes:
        path: The object.
        interface: One of those that it has.
        name: Of the method.
        signature: The types of its arguments.
    """

    __slots__ = ("interface", "name", "path", "signature")

    def __init__(self, path: str, interface: str, name: str, signature: str) -> None:
        self.path, self.interface, self.name, self.signature = path, interface, name, signature


def call(address: str, method: Method, arguments: Iterable[Value], step: str) -> bytes:
    """Call a method and return the answer: its values, as they are laid out.

    Args:
        address: The socket.
        method: What is called.
        arguments: With what.
        step: What is done by that, for who reads that it failed.

    Raises:
        SetupError: It is refused, or nobody listens.
    """
    try:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise SetupError(step, error.errno or 0, address) from error
    try:
        peer.settimeout(_PATIENCE_S)
        peer.connect(address)
        refusal = _say_who_it_is(peer)
        if not refusal:
            peer.sendall(render_call(method, arguments))
            refusal, answer = _receive_answer(peer)
            if not refusal:
                return answer
    except EOFError:
        refusal = "nothing, and hangs up"
    except OSError as error:
        raise SetupError(step, error.errno or ETIMEDOUT, address) from error
    finally:
        peer.close()
    raise SetupError(step, hint=f"systemd says {refusal}")


def render_call(method: Method, arguments: Iterable[Value]) -> bytes:
    """Return the message that calls a method."""
    body, fields = bytearray(), bytearray()
    for add in arguments:
        add(body)
    for code, kind, value in (
        (_PATH, "o", text(method.path)),
        (_INTERFACE, "s", text(method.interface)),
        (_MEMBER, "s", text(method.name)),
        (_SIGNATURE, "g", _signature(method.signature)),
    ):
        _pad(fields, 8)
        fields.append(code)
        _signature(kind)(fields)
        value(fields)
    order = b"l" if byteorder == "little" else b"B"
    head = _HEAD.pack(order, _CALL, 0, _VERSION, len(body), _SERIAL, len(fields))
    _pad(fields, 8)
    return bytes(head + fields + body)


def number(value: int) -> Value:
    """Return a number, or a truth, of 32 bits."""

    def add(message: bytearray) -> None:
        _pad(message, 4)
        message += _NUMBER.pack(value)

    return add


def text(value: str) -> Value:
    """Return a text."""

    def add(message: bytearray) -> None:
        data = value.encode()
        number(len(data))(message)
        message += data + b"\0"

    return add


def array(values: Iterable[Value], alignment: int = 4) -> Value:
    """Return an array of values, which begin at multiples of so many bytes."""

    def add(message: bytearray) -> None:
        number(0)(message)
        place = len(message) - _NUMBER.size
        _pad(message, alignment)
        start = len(message)
        for add_one in values:
            _pad(message, alignment)
            add_one(message)
        _NUMBER.pack_into(message, place, len(message) - start)

    return add


def entry(name: str, signature: str, value: Value) -> Value:
    """Return a name and a value of any type."""

    def add(message: bytearray) -> None:
        text(name)(message)
        _signature(signature)(message)
        value(message)

    return add


def read_truth(answer: bytes) -> bool:
    """Return whether an answer is a value of any type that is true."""
    return answer[:3] == b"\1b\0" and _NUMBER.unpack_from(answer.ljust(8, b"\0"), 4)[0] == 1


def _signature(value: str) -> Value:
    def add(message: bytearray) -> None:
        message += bytes([len(value)]) + value.encode() + b"\0"

    return add


def _pad(message: bytearray, alignment: int) -> None:
    message += bytes(-len(message) % alignment)


def _say_who_it_is(peer: socket.socket) -> str:
    """Return why the caller is not let in; nothing if it is."""
    uid = str(os.geteuid()).encode().hex().encode()
    # In one go, as systemd's own programs: a message that arrives together with BEGIN is not read
    # until something follows it.
    peer.sendall(b"\0AUTH EXTERNAL " + uid + b"\r\nBEGIN\r\n")
    answer = b""
    while not answer.endswith(b"\r\n") and len(answer) < _MOST_LINE:
        answer += _receive(peer, 1)
    return "" if answer.startswith(b"OK ") else answer.decode("utf-8", "replace").strip()


def _receive_answer(peer: socket.socket) -> tuple[str, bytes]:
    """Return why the call was refused, or what it returned; what else arrives is passed over."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        _, kind, _, _, size, _, fields_size = _HEAD.unpack(_receive(peer, _HEAD.size))
        if max(size, fields_size) > _MOST_TEXT:
            return "too much", b""
        _receive(peer, fields_size + -fields_size % 8)
        body = _receive(peer, size)
        if kind == _RETURN:
            return "", body
        if kind == _ERROR:
            return body[_NUMBER.size :].rstrip(b"\0").decode("utf-8", "replace") or "no", b""
    raise TimeoutError(ETIMEDOUT, os.strerror(ETIMEDOUT))


def _receive(peer: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        chunk = peer.recv(size - len(content))
        if not chunk:
            raise EOFError
        content += chunk
    return content
