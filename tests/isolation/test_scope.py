import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mocker.isolation import SetupError
from mocker.isolation.scope import find_manager, render_call, start_scope
from mocker.isolation.syscalls import CLONE_NEWNS, MS_REC, MS_SLAVE, mount, unshare
from tests.in_namespaces import run_in_child
from tests.requirements import requires_root

# As the D-Bus specification lays it out, up to the body.
CALL = (
    b"l\1\0\1\xb8\0\0\0\1\0\0\0\x8e\0\0\0"
    b"\1\1o\0\x19\0\0\0/org/freedesktop/systemd1\0\0\0\0\0\0\0"
    b"\2\1s\0 \0\0\0org.freedesktop.systemd1.Manager\0\0\0\0\0\0\0\0"
    b"\3\1s\0\x12\0\0\0StartTransientUnit\0\0\0\0\0\0"
    b"\x08\1g\0\x10ssa(sv)a(sa(sv))\0\0\0"
)
ERROR = b"l\3\0\1\x10\0\0\0\1\0\0\0\x10\0\0\0\5\1u\0\1\0\0\0\x08\1g\0\1s\0\0\x0b\0\0\0not today, \0"
SIGNAL = b"l\4\0\1\4\0\0\0\7\0\0\0\x08\0\0\0\x09\1u\0\1\0\0\0abcd"


@contextmanager
def manager(path: Path, *answers: bytes, greeting: bytes = b"OK 0123\r\n") -> Iterator[bytearray]:
    """Be a service manager that gives these answers; what it was told is filled in at the end."""
    told = bytearray()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                told.extend(peer.recv(1000))
                peer.sendall(greeting)
                while b"inactive-or-failed" not in told:
                    chunk = peer.recv(1000)
                    if not chunk:
                        return
                    told.extend(chunk)
                for byte in b"".join(answers):  # as slow as an answer can arrive
                    peer.sendall(bytes([byte]))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield told
        finally:
            thread.join()


def test_call_is_laid_out_as_d_bus_has_it() -> None:
    call = render_call("a.scope", [5, 6])

    assert call.startswith(CALL)
    assert b"\0\0\0PIDs\0\2au\0\0\0\0\x08\0\0\0\5\0\0\0\6\0\0\0" in call
    assert b"\0\0\0Delegate\0\1b\0\1\0\0\0" in call
    assert len(call) == 16 + 0x90 + 0xB8  # the head, the fields and what pads them, the body


def test_refusal_of_the_manager_is_told_in_its_words(tmp_path: Path) -> None:
    path = tmp_path / "private"

    with (
        manager(path, SIGNAL, ERROR) as told,
        pytest.raises(SetupError, match="cannot start a scope of systemd's; it says: not today,"),
    ):
        start_scope(str(path), [os.getpid()])

    assert told.startswith(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode())
    assert render_call("", [os.getpid()])[:4] in bytes(told)


def test_manager_that_does_not_know_the_caller_is_told(tmp_path: Path) -> None:
    path = tmp_path / "private"

    with (
        manager(path, greeting=b"REJECTED EXTERNAL\r\n"),
        pytest.raises(SetupError, match="it says: REJECTED EXTERNAL"),
    ):
        start_scope(str(path), [os.getpid()])


def test_manager_that_hangs_up_is_told(tmp_path: Path) -> None:
    path = tmp_path / "private"

    with manager(path), pytest.raises(SetupError, match="it hangs up"):
        start_scope(str(path), [os.getpid()])


def test_manager_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"on /.*/private: No such file .*ENOENT"):
        start_scope(str(tmp_path / "private"), [os.getpid()])


@requires_root
@pytest.mark.parametrize(
    ("uid", "there", "found"),
    [
        (0, ["system", "private"], "/run/systemd/private"),
        (0, ["system"], ""),
        (0, ["private"], ""),
        (7777, ["system", "user"], "/run/user/7777/systemd/private"),
        (7777, ["system", "private"], ""),
    ],
)
def test_manager_is_that_of_the_caller_where_systemd_has_booted(
    uid: int, there: list[str], found: str
) -> None:
    paths = {
        "system": Path("/run/systemd/system"),
        "private": Path("/run/systemd/private"),
        "user": Path("/run/user/7777/systemd/private"),
    }

    def act() -> str:
        os.environ.pop("XDG_RUNTIME_DIR", None)
        unshare(CLONE_NEWNS)
        mount("none", "/", "", MS_REC | MS_SLAVE)
        mount("none", "/run", "tmpfs")
        for name in there:
            paths[name].mkdir(parents=True)
        os.setresuid(uid, uid, uid)
        return find_manager()

    assert run_in_child(act) == found
