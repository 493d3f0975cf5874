"""The caller's terminal while it is a job's; here the test is the supervisor."""

import errno
import json
import os
import signal
import socket
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mocker.supervisor.client.attached_job import AttachedJob
from mocker.supervisor.client.attached_terminal import AttachedTerminal
from mocker.supervisor.client.detach_keys import DEFAULT, DetachKeys
from tests.end_to_end.pty_driver import lead_new_terminal
from tests.in_namespaces import run_in_child
from tests.supervisor.client.exec_listener import asked, find_connections


@contextmanager
def at_terminal(
    directory: Path,
) -> Iterator[tuple[AttachedTerminal, int, socket.socket, socket.socket]]:
    """Be at a job's terminal; yield one's own, its emulator's side, and the supervisor's ends."""
    master = lead_new_terminal()
    job = AttachedJob(find_connections(directory), "web")
    with asked(directory, job) as theirs:
        theirs.recv(100)
        stream, job_end = socket.socketpair()
        job.terminal_fd = job_end.detach()
        terminal = AttachedTerminal(job, DetachKeys(DEFAULT))
        with stream, terminal:
            terminal.take()
            yield terminal, master, theirs, stream


def in_child(function: Callable[[], object]) -> object:
    """Call it where the signals that it blocks are nobody else's."""
    return run_in_child(function)


def test_keys_are_passed_and_those_to_detach_end_it(tmp_path: Path) -> None:
    def run() -> object:
        with at_terminal(tmp_path) as (terminal, master, _, stream):
            os.write(master, b"ls")
            first = terminal.read(100)
            os.write(master, b"\x10")
            with pytest.raises(BlockingIOError):
                terminal.read(100)
            os.write(master, b"x\x10\x11")
            return first, terminal.read(100), stream.recv(100), terminal.hung_up

    assert in_child(run) == (b"ls", b"", b"\x10x", False)


def test_terminal_that_has_hung_up_is_at_its_end(tmp_path: Path) -> None:
    def run() -> object:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with at_terminal(tmp_path) as (terminal, master, _, _):
            os.close(master)
            return terminal.read(100), terminal.hung_up

    assert in_child(run) == (b"", True)


def test_nothing_typed_is_no_end(tmp_path: Path) -> None:
    def run() -> object:
        with at_terminal(tmp_path) as (terminal, _, _, _):
            try:
                return terminal.read(100)
            except BlockingIOError as error:
                return error.errno == errno.EAGAIN, terminal.hung_up

    assert in_child(run) == (True, False)


def test_size_is_told(tmp_path: Path) -> None:
    def run() -> object:
        with at_terminal(tmp_path) as (terminal, master, theirs, _):
            terminal.copy_size(-1)  # an unknown one, which is not told
            termios.tcsetwinsize(master, (30, 100))
            terminal.copy_size(-1)
            return json.loads(theirs.recv(100))

    assert in_child(run) == {"size": [30, 100]}
