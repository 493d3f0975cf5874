"""Sockets passed on as systemd does it, from descriptor 3 on, in a process of their own."""

import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mocker.supervisor.inherited_sockets import InheritedSocketError, take_sockets
from tests.callers import call

FIRST = 3

Open = Callable[[Path], int]


def listen(kind: int) -> Open:
    def open_(directory: Path) -> int:
        listening = socket.socket(socket.AF_UNIX, kind)
        listening.bind(str(directory / f"{kind:d}"))
        listening.listen()
        return listening.detach()

    return open_


def listen_by_tcp(_: Path) -> int:
    return socket.create_server(("127.0.0.1", 0)).detach()


def connect(_: Path) -> int:
    ends = socket.socketpair()
    ends[1].detach()
    return ends[0].detach()


def open_datagrams(directory: Path) -> int:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bound.bind(str(directory / "datagrams"))
    return bound.detach()


def open_file(_: Path) -> int:
    return os.open(os.devnull, os.O_RDWR)


def open_nothing(_: Path) -> int:
    return -1


def take(directory: Path, openers: Sequence[Open], names: str = "", pid: int = 0) -> str:
    """Return what a process says that takes these: their types and what is inherited of them."""

    def act() -> None:
        fds = [open_(directory) for open_ in openers]
        os.closerange(FIRST, min([fd for fd in fds if fd >= 0], default=FIRST))
        for number, fd in enumerate(fds, FIRST):
            if fd >= 0 and fd != number:
                os.dup2(fd, number, inheritable=True)
        env = {
            "LISTEN_PID": str(pid or os.getpid()),
            "LISTEN_FDS": str(len(fds)),
            "LISTEN_FDNAMES": names,
        }
        try:
            taken = take_sockets(env)
        except InheritedSocketError as error:
            text = f"{error.exit_code} {error}"
        else:
            text = ", ".join(
                f"{socket.SocketKind(kind).name} {s.fileno()} {s.get_inheritable()}"
                for kind, s in taken.items()
            )
        os.write(1, text.encode())

    return call(act).stdout


def test_each_is_found_by_its_type(tmp_path: Path) -> None:
    openers = [listen(socket.SOCK_SEQPACKET), listen(socket.SOCK_STREAM)]

    assert take(tmp_path, openers) == "SOCK_SEQPACKET 3 False, SOCK_STREAM 4 False"


def test_who_connects_then_has_the_process_that_took_it_as_its_peer(tmp_path: Path) -> None:
    path = tmp_path / f"{socket.SOCK_STREAM:d}"
    listening = listen(socket.SOCK_STREAM)(tmp_path)

    def act() -> None:
        os.dup2(listening, FIRST)
        take_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"})
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4)
        os.write(1, f"{int.from_bytes(peer, sys.byteorder) == os.getpid()}".encode())

    try:
        outcome = call(act)
    finally:
        os.close(listening)

    assert outcome.stdout == "True"


def test_what_is_meant_for_another_process_is_left_alone(tmp_path: Path) -> None:
    assert take(tmp_path, [listen(socket.SOCK_STREAM)], pid=1) == ""


@pytest.mark.parametrize("env", [{}, {"LISTEN_FDS": "1"}, {"LISTEN_PID": "me", "LISTEN_FDS": "1"}])
def test_without_the_variables_there_are_none(env: dict[str, str]) -> None:
    assert take_sockets(env) == {}


@pytest.mark.parametrize("open_", [listen_by_tcp, connect, open_datagrams, open_file, open_nothing])
def test_anything_else_is_refused(tmp_path: Path, open_: Open) -> None:
    assert take(tmp_path, [open_], names="web.socket") == (
        "1 cannot use descriptor 3 (web.socket) of LISTEN_FDS: it has to be a Unix socket that "
        "listens, by ListenStream= or ListenSequentialPacket=, and one of each at most"
    )


def test_second_one_of_a_type_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()

    told = take(tmp_path, [listen(socket.SOCK_STREAM), lambda _: listen(socket.SOCK_STREAM)(other)])

    assert told.startswith("1 cannot use descriptor 4 of LISTEN_FDS: ")
