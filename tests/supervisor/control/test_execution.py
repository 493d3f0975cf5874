"""One process that is executed for somebody, from the side of the supervisor."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio

from mocker.isolation import CommandError, Container
from mocker.supervisor.control.exec_requests import parse_request
from mocker.supervisor.control.execution import close_callers, execute, tell_at_once
from tests.beside import running
from tests.leaks import PATIENCE, read_descriptors
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [requires_busybox, requires_user_namespaces]


@contextmanager
def connected() -> Iterator[tuple[trio.socket.SocketType, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with trio.socket.from_stdlib_socket(ours) as end, theirs:
        theirs.settimeout(PATIENCE)
        yield end, theirs


async def serve(
    end: trio.socket.SocketType, container: Container, script: str, **more: object
) -> list[int]:
    """Execute a shell script; return what is left of its descriptors."""
    argv = script.split() if more.pop("plain", False) else ["sh", "-c", script]
    stdio = [os.open(os.devnull, os.O_RDWR) for _ in range(3)]
    message = json.dumps({"job": "web", "argv": argv, **more}).encode()
    with trio.fail_after(PATIENCE):
        await execute(end, container, parse_request(message), stdio)
    return stdio


def take(theirs: socket.socket) -> dict[str, object]:
    message, fds, _, _ = socket.recv_fds(theirs, 2**16, 1)
    for fd in fds:
        os.close(fd)
    values: dict[str, object] = json.loads(message)
    return values


@pytest.mark.parametrize(
    ("script", "ending"), [("exit 7", {"exited": 7}), ("kill -9 $$", {"killed": 9})]
)
async def test_start_and_end_are_told_and_nothing_is_left(
    script: str, ending: dict[str, int]
) -> None:
    with running() as container, connected() as (end, theirs):
        before = read_descriptors()
        left = await serve(end, container, script)
        after = read_descriptors()

        assert list(take(theirs)) == ["started", "version"]
        assert take(theirs) == ending
    assert (left, after) == ([], before)


async def test_terminal_is_handed_over_and_not_kept() -> None:
    with running() as container, connected() as (end, theirs):
        before = read_descriptors()
        await serve(end, container, "exit 3", terminal=True)

        assert read_descriptors() == before
        _, fds, _, _ = socket.recv_fds(theirs, 2**16, 1)
        assert [os.isatty(fd) for fd in fds] == [True]
        os.close(fds[0])


async def test_what_cannot_be_executed_is_an_error() -> None:
    with running() as container, connected() as (end, _), pytest.raises(CommandError):
        await serve(end, container, "nosuch", plain=True)


async def test_signals_are_handed_on() -> None:
    with running() as container, connected() as (end, theirs):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, end, container, "sleep 1000")
            await trio.to_thread.run_sync(take, theirs)
            theirs.send(b'{"signal": 10}')

        assert take(theirs) == {"killed": 10}


async def test_stops_are_told() -> None:
    with running() as container, connected() as (end, theirs):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, end, container, "kill -STOP $$; exit 4")
            await trio.to_thread.run_sync(take, theirs)
            stopped = await trio.to_thread.run_sync(take, theirs)
            theirs.send(b'{"signal": 18}')

        assert (stopped, take(theirs)) == ({"stopped": 19}, {"exited": 4})


@pytest.mark.parametrize("terminal", [False, True])
async def test_process_is_killed_when_nobody_listens_any_more(terminal: bool) -> None:
    with running() as container, connected() as (end, theirs):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                lambda: serve(end, container, "trap '' HUP; sleep 1000", terminal=terminal)
            )
            await trio.to_thread.run_sync(take, theirs)
            theirs.close()


async def test_later_message_that_cannot_be_meant_ends_it() -> None:
    with running() as container, connected() as (end, theirs):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, end, container, "sleep 1000")
            await trio.to_thread.run_sync(take, theirs)
            theirs.send(b"{")

        assert "error" in take(theirs)


async def test_descriptors_are_closed_once() -> None:
    fds = list(os.pipe())

    await close_callers(fds)
    await close_callers(fds)

    assert fds == []


async def test_who_takes_nothing_is_not_waited_for() -> None:
    with connected() as (end, theirs):
        for _ in range(10_000):
            tell_at_once(end, b"x" * 1000)
        theirs.close()
        tell_at_once(end, b"x")
