import os
from pathlib import Path

import pytest

from mocker.isolation import SetupError
from mocker.isolation.dbus import (
    Method,
    array,
    call,
    entry,
    number,
    read_truth,
    render_call,
    text,
)
from tests.dbus import ERROR, RETURN, SIGNAL, callee, truth

METHOD = Method("/a", "b.c", "D", "sba(sv)au")
ARGUMENTS = [
    text("x"),
    number(1),
    array([entry("k", "s", text("v")), entry("ab", "b", number(1))], 8),
    array([number(5), number(6)]),
]
# Each part begins at a multiple of its own size, counted from the start of the message.
MESSAGE = (
    b"l\1\0\1\x44\0\0\0\1\0\0\0\x3f\0\0\0"
    b"\1\1o\0\2\0\0\0/a\0\0\0\0\0\0"
    b"\2\1s\0\3\0\0\0b.c\0\0\0\0\0"
    b"\3\1s\0\1\0\0\0D\0\0\0\0\0\0\0"
    b"\x08\1g\0\tsba(sv)au\0\0"
    b"\1\0\0\0x\0\0\0\1\0\0\0\x28\0\0\0"
    b"\1\0\0\0k\0\1s\0\0\0\0\1\0\0\0v\0\0\0\0\0\0\0\2\0\0\0ab\0\1b\0\0\0\1\0\0\0"
    b"\x08\0\0\0\5\0\0\0\6\0\0\0"
)


def test_call_is_laid_out_as_the_specification_has_it() -> None:
    assert render_call(METHOD, ARGUMENTS) == MESSAGE


def test_call_is_made_by_who_the_caller_is(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    with callee(path, SIGNAL, RETURN) as said:
        assert call(str(path), METHOD, ARGUMENTS, "try") == b""

    who = str(os.geteuid()).encode().hex().encode()
    assert bytes(said) == b"\0AUTH EXTERNAL " + who + b"\r\nBEGIN\r\n" + MESSAGE


@pytest.mark.parametrize("is_so", [True, False])
def test_answer_is_read(tmp_path: Path, is_so: bool) -> None:
    path = tmp_path / "socket"

    with callee(path, truth(is_so)):
        assert read_truth(call(str(path), METHOD, ARGUMENTS, "try")) is is_so


@pytest.mark.parametrize("answer", [b"", b"\1b\0", b"\1s\0\0\1\0\0\0"])
def test_what_is_no_truth_is_none(answer: bytes) -> None:
    assert not read_truth(answer)


@pytest.mark.parametrize(
    ("greeting", "answer", "message"),
    [
        (b"OK 1\r\n", SIGNAL + ERROR, "cannot try; systemd says not today"),
        (b"OK 1\r\n", RETURN[:20], "cannot try; systemd says nothing, and hangs up"),
        (b"OK 1\r\n", b"l\2\0\1\0\0\1\1" + bytes(8), "cannot try; systemd says too much"),
        (b"REJECTED EXTERNAL\r\n", b"", "cannot try; systemd says REJECTED EXTERNAL"),
        (b"", b"", "cannot try; systemd says nothing, and hangs up"),
    ],
    ids=["error", "half", "long", "rejected", "silent"],
)
def test_refusal_is_told(tmp_path: Path, greeting: bytes, answer: bytes, message: str) -> None:
    path = tmp_path / "socket"

    with callee(path, answer, greeting=greeting), pytest.raises(SetupError) as caught:
        call(str(path), METHOD, ARGUMENTS, "try")

    assert str(caught.value) == message


def test_socket_without_anybody_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"cannot try on /.*/socket: No such file .*ENOENT"):
        call(str(tmp_path / "socket"), METHOD, ARGUMENTS, "try")
