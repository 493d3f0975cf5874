"""A process as a program that executes it has it; here the test is the supervisor."""

import array
import json
import os
import socket
import termios
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mocker.isolation import ExitStatus
from mocker.supervisor.client.client import Client
from mocker.supervisor.client.exchange import AnswerError
from tests.supervisor.client.exec_listener import serving, tell


async def receive(connected: trio.socket.SocketType) -> tuple[dict[str, object], list[int]]:
    """Return what is asked for, and the descriptors that came with it."""
    room = socket.CMSG_LEN(3 * array.array("i").itemsize)
    message, parts, _, _ = await connected.recvmsg(2**16, room)
    fds = array.array("i")
    for _, _, data in parts:
        fds.frombytes(data)
    return json.loads(message), list(fds)


async def echo(connected: trio.socket.SocketType) -> None:
    """Be a process that prints what it reads, in capitals, and where it complains."""
    _, (stdin, stdout, stderr) = await receive(connected)
    tell(connected, {"started": 5})
    with (
        os.fdopen(stdin, "rb") as source,
        os.fdopen(stdout, "wb") as target,
        os.fdopen(stderr, "wb") as other,
    ):
        target.write((await trio.to_thread.run_sync(source.read)).upper())
        other.write(b"done")
    tell(connected, {"exited": 7})


async def talk(connected: trio.socket.SocketType) -> None:
    """Be a process on a terminal, which takes the place and size of what was lent for it, later."""
    _, lent = await receive(connected)
    master, slave = os.openpty()
    tell(connected, {"started": 5}, [master])
    os.close(master)
    await wait_all_tasks_blocked()
    size = termios.tcgetwinsize(lent[0])
    with os.fdopen(slave, "r+b", buffering=0) as terminal:
        for fd in lent:
            os.close(fd)
        terminal.write(f"{size}\n".encode())
        word = await trio.to_thread.run_sync(terminal.readline)
        terminal.write(b"got " + word + f"{termios.tcgetwinsize(slave)}\n".encode())
    tell(connected, {"exited": 0})


async def refuse(connected: trio.socket.SocketType) -> None:
    """Execute nothing."""
    _, fds = await receive(connected)
    for fd in fds:
        os.close(fd)
    error = {"code": "cannot-execute", "message": "there is no such program"}
    tell(connected, {"error": error, "exit_code": 127})


def ask(directory: Path) -> Client:
    return Client(str(directory / "web.sock"))


async def test_process_is_written_to_and_read_from(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, echo),
        ask(tmp_path) as client,
        client.exec("web", ["cat"]) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        async with process.stdin:
            await process.stdin.send_all(b"hello")
        printed = b"".join([part async for part in process.stdout])
        complained = b"".join([part async for part in process.stderr])
        status = await process.wait()

    assert (printed, complained, status) == (b"HELLO", b"done", ExitStatus(code=7))
    assert process.terminal is None


async def test_process_has_descriptors_of_the_caller_s_in_place_of_streams(tmp_path: Path) -> None:
    file = tmp_path / "out"
    read_end, write_end = os.pipe()
    os.close(write_end)
    with file.open("wb") as out, os.fdopen(read_end) as nothing:
        stdin, stdout = nothing.fileno(), out.fileno()
        async with (
            serving(tmp_path, echo),
            ask(tmp_path) as client,
            client.exec("web", ["cat"], stdin=stdin, stdout=stdout, stderr=stdout) as process,
        ):
            streams = process.stdin, process.stdout, process.stderr
            status = await process.wait()

    assert (streams, status, file.read_bytes()) == ((None,) * 3, ExitStatus(code=7), b"done")


async def test_process_on_a_terminal_is_typed_at(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, talk),
        ask(tmp_path) as client,
        client.exec("web", ["sh"], tty=True) as process,
    ):
        assert process.terminal is not None
        first = await process.terminal.receive_some()
        process.resize(30, 100)
        await process.terminal.send_all(b"word\n")
        rest = b"".join([part async for part in process.terminal])
        status = await process.wait()

    assert first == b"(24, 80)\r\n"
    assert rest == b"word\r\ngot word\r\n(30, 100)\r\n"
    assert (process.stdin, process.stdout, status) == (None, None, ExitStatus(code=0))


async def test_size_of_a_terminal_that_is_closed_is_nobody_else_s(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, talk),
        ask(tmp_path) as client,
        client.exec("web", ["sh"], tty=True) as process,
    ):
        assert process.terminal is not None
        await process.terminal.send_all(b"word\n")
        await process.wait()
        fd = process.terminal.fileno()
        others, side = os.openpty()
        process.terminal.close()
        os.dup2(others, fd)
        os.close(others)

        process.resize(30, 100)
        size = termios.tcgetwinsize(side)
        os.close(fd)
        os.close(side)

    assert size == (0, 0)


async def test_refusal_is_told_at_the_beginning_with_an_exit_status(tmp_path: Path) -> None:
    async with serving(tmp_path, refuse), ask(tmp_path) as client:
        with pytest.raises(AnswerError, match="no such program") as error:
            async with client.exec("web", ["nope"]):
                pass

    assert (error.value.code, error.value.exit_code) == ("cannot-execute", 127)


async def test_size_is_for_what_has_a_terminal(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, echo),
        ask(tmp_path) as client,
        client.exec("web", ["cat"]) as process,
    ):
        with pytest.raises(RuntimeError, match="no terminal"):
            process.resize(30, 100)
        assert process.stdin is not None
        await process.stdin.aclose()
        await process.wait()
