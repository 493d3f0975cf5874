"""A job as who is attached to it has it; here the test is the supervisor."""

import errno
import json
import os
import signal
import socket
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mocker.isolation import ExitStatus
from mocker.supervisor.client.attached_job import AttachedJob, AttachedTerminal
from mocker.supervisor.client.detach_keys import DEFAULT, DetachKeys
from tests.end_to_end.pty_driver import lead_new_terminal
from tests.in_namespaces import run_in_child

SIGNALS: set[int] = {signal.SIGTERM}


@contextmanager
def attached() -> Iterator[tuple[AttachedJob, socket.socket]]:
    """Ask for a job; yield the supervisor's end of the connection too."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS | {signal.SIGCHLD})
    job = AttachedJob(ours, "web")
    with theirs, job:
        yield job, theirs


@contextmanager
def at_terminal() -> Iterator[tuple[AttachedTerminal, int, socket.socket, socket.socket]]:
    """Be at a job's terminal; yield one's own, its emulator's side, and the supervisor's ends."""
    master = lead_new_terminal()
    with attached() as (job, theirs):
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


def test_request_names_the_job() -> None:
    def run() -> object:
        with attached() as (_, theirs):
            return json.loads(theirs.recv(100))

    assert in_child(run) == {"attach": "web"}


@pytest.mark.parametrize(
    ("code", "status"), [("no-such-job", 4), ("no-terminal", 1), ("stalled", 1)]
)
def test_problem_is_told_with_a_status_of_its_own(code: str, status: int) -> None:
    def run() -> object:
        with attached() as (job, theirs):
            message = {"error": {"code": code, "message": "no"}, "exit_code": 125}
            theirs.send(json.dumps(message).encode())
            started = job.wait_started(SIGNALS)
            return started, job.poll() == ExitStatus(code=status), job.problem

    assert in_child(run) == (False, True, "no")


def test_supervisor_that_goes_away_is_a_problem() -> None:
    def run() -> object:
        with attached() as (job, theirs):
            theirs.recv(100)
            theirs.send(b'{"started": 5}')
            theirs.close()
            job.wait_started(SIGNALS)
            job.resize(30, 100)
            return job.poll() == ExitStatus(code=1), job.problem

    assert in_child(run) == (True, "the supervisor is gone")


def test_signal_to_end_leaves_the_job_and_others_do_nothing() -> None:
    def run() -> object:
        with attached() as (job, theirs):
            theirs.recv(100)
            job.send_signal(signal.SIGTSTP)
            before = job.poll()
            job.send_signal(signal.SIGTERM)
            job.kill()
            return before, job.poll() == ExitStatus(signal=15), theirs.recv(100)

    assert in_child(run) == (None, True, b"")


def test_keys_are_passed_and_those_to_detach_end_it() -> None:
    def run() -> object:
        with at_terminal() as (terminal, master, _, stream):
            os.write(master, b"ls")
            first = terminal.read(100)
            os.write(master, b"\x10")
            with pytest.raises(BlockingIOError):
                terminal.read(100)
            os.write(master, b"x\x10\x11")
            return first, terminal.read(100), stream.recv(100), terminal.hung_up

    assert in_child(run) == (b"ls", b"", b"\x10x", False)


def test_terminal_that_has_hung_up_is_at_its_end() -> None:
    def run() -> object:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with at_terminal() as (terminal, master, _, _):
            os.close(master)
            return terminal.read(100), terminal.hung_up

    assert in_child(run) == (b"", True)


def test_nothing_typed_is_no_end() -> None:
    def run() -> object:
        with at_terminal() as (terminal, _, _, _):
            try:
                return terminal.read(100)
            except BlockingIOError as error:
                return error.errno == errno.EAGAIN, terminal.hung_up

    assert in_child(run) == (True, False)


def test_size_is_told() -> None:
    def run() -> object:
        with at_terminal() as (terminal, master, theirs, _):
            terminal.copy_size(-1)  # an unknown one, which is not told
            termios.tcsetwinsize(master, (30, 100))
            terminal.copy_size(-1)
            return json.loads(theirs.recv(100))

    assert in_child(run) == {"size": [30, 100]}
