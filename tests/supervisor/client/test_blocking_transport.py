import os
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.blocking_transport import (
    BlockingTransport,
    ReaderGoneError,
    run_blocking,
)


class _Otherwise:
    """Something that only a loop can wait for."""

    def __await__(self) -> Generator[None, None, None]:
        yield

    async def wait(self) -> None:
        await self


async def give(value: int) -> int:
    return value


def test_coroutine_runs_to_its_end() -> None:
    assert run_blocking(give(7)) == 7


def test_error_of_a_coroutine_is_that_of_who_runs_it(tmp_path: Path) -> None:
    path = str(tmp_path / "none.sock")

    with pytest.raises(NoSupervisorError):
        run_blocking(BlockingTransport().connect(path, socket.SOCK_STREAM))


def test_coroutine_that_waits_for_something_else_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="not blocking"):
        run_blocking(_Otherwise().wait())


def test_what_can_be_read_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")

        assert run_blocking(BlockingTransport().wait_readable(ours.fileno(), 30))


def test_what_comes_too_late_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not run_blocking(BlockingTransport().wait_readable(ours.fileno(), 0.01))


def test_reader_that_is_gone_ends_the_wait() -> None:
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    os.close(read_end)
    with ours, theirs, os.fdopen(write_end, "wb") as shown:
        transport = BlockingTransport(reader_fd=shown.fileno())

        with pytest.raises(ReaderGoneError):
            run_blocking(transport.wait_readable(ours.fileno(), is_shown=True))


def test_reader_that_is_there_does_not() -> None:
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    with ours, theirs, os.fdopen(read_end, "rb"), os.fdopen(write_end, "wb") as shown:
        theirs.send(b"x")
        transport = BlockingTransport(reader_fd=shown.fileno())

        assert run_blocking(transport.wait_readable(ours.fileno(), is_shown=True))


def test_answer_that_is_not_shown_is_waited_for_though_the_reader_is_gone() -> None:
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    os.close(read_end)
    with ours, theirs, os.fdopen(write_end, "wb") as shown:
        theirs.send(b"x")
        transport = BlockingTransport(reader_fd=shown.fileno())

        assert run_blocking(transport.wait_readable(ours.fileno()))


def test_room_is_waited_for() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        run_blocking(BlockingTransport().wait_writable(ours.fileno()))

        assert ours.send(b"x") == 1


def test_supervisor_is_found_as_the_caller_s_environment_says(tmp_path: Path) -> None:
    transport = BlockingTransport({"MOCKER_SOCKET": "/run/other.sock"})

    assert run_blocking(transport.find(None)) == "/run/other.sock"
