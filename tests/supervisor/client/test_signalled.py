"""What is executed, waited for by signals; here the test is the supervisor."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, ExitStatus
from mocker.supervisor.client.exec_messages import render_exec
from mocker.supervisor.client.executed import Executed
from mocker.supervisor.client.signalled import announce, wait_started
from mocker.supervisor.ending_signals import ECHO_S
from mocker.supervisor.foreground import Watch
from tests.in_namespaces import run_in_child
from tests.supervisor.client.exec_listener import asked, find_connections, tell

SIGNALS: set[int] = {signal.SIGTERM, signal.SIGUSR1}
SPEC = ContainerSpec(["true"])


@contextmanager
def executed(directory: Path) -> Iterator[tuple[Executed, Watch, socket.socket]]:
    """Ask for a process that is announced; give the supervisor's end of the connection too."""
    process = Executed(find_connections(directory), render_exec("web", SPEC), SPEC, "it is gone")
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS | {signal.SIGCHLD})
    with asked(directory, process, (0, 1, 2)) as theirs:
        announce(process)
        yield process, Watch(process, None), theirs


def in_child(function: Callable[[], object]) -> object:
    """Call it where the signals that it blocks are nobody else's."""
    return run_in_child(function)


def call_later(function: Callable[[], object], delay: float = 0.05) -> None:
    """Call it from a signal handler, while something is waited for."""
    signal.signal(signal.SIGALRM, lambda *_: function())
    signal.setitimer(signal.ITIMER_REAL, delay)


def test_start_is_told_by_a_signal(tmp_path: Path) -> None:
    def run() -> object:
        with executed(tmp_path) as (process, watch, theirs):
            call_later(lambda: tell(theirs, {"started": 5}))
            return wait_started(process, watch, SIGNALS), watch.asked_to_end

    assert in_child(run) == (True, False)


@pytest.mark.parametrize("started", [False, True])
def test_end_is_told_by_a_signal(started: bool, tmp_path: Path) -> None:
    def run() -> object:
        with executed(tmp_path) as (process, watch, theirs):
            theirs.recv(2**16)
            if started:
                tell(theirs, {"started": 5})
            tell(theirs, {"exited": 3})
            return wait_started(process, watch, SIGNALS), process.poll() == ExitStatus(code=3)

    assert in_child(run) == (False, True)


def test_news_from_before_it_is_announced_are_seen(tmp_path: Path) -> None:
    def run() -> object:
        process = Executed(find_connections(tmp_path), b"{}", SPEC, "")
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS | {signal.SIGCHLD})
        with asked(tmp_path, process) as theirs:
            tell(theirs, {"started": 5})
            announce(process)
            return wait_started(process, Watch(process, None), SIGNALS)

    assert in_child(run) is True


def test_signal_to_end_is_handed_on_and_known_at_the_start(tmp_path: Path) -> None:
    def run() -> object:
        with executed(tmp_path) as (process, watch, theirs):
            theirs.recv(2**16)
            os.kill(os.getpid(), signal.SIGTERM)
            call_later(lambda: tell(theirs, {"started": 5}))
            return wait_started(process, watch, SIGNALS), watch.asked_to_end, theirs.recv(100)

    assert in_child(run) == (True, True, b'{"signal": 15}')


def test_signal_that_is_sent_twice_at_once_is_handed_on_once(tmp_path: Path) -> None:
    def run() -> object:
        with executed(tmp_path) as (process, watch, theirs):
            theirs.recv(2**16)
            os.kill(os.getpid(), signal.SIGTERM)

            def send_again() -> None:
                os.kill(os.getpid(), signal.SIGTERM)
                tell(theirs, {"started": 5})

            call_later(send_again, ECHO_S / 10)
            started = wait_started(process, watch, SIGNALS)
            theirs.setblocking(False)
            sent = theirs.recv(100)
            with pytest.raises(BlockingIOError):
                theirs.recv(100)
            return started, sent

    assert in_child(run) == (True, b'{"signal": 15}')


def test_second_signal_to_end_gives_it_up(tmp_path: Path) -> None:
    def run() -> object:
        with executed(tmp_path) as (process, watch, theirs):
            theirs.recv(2**16)
            os.kill(os.getpid(), signal.SIGTERM)
            call_later(lambda: os.kill(os.getpid(), signal.SIGTERM), 2 * ECHO_S)
            started = wait_started(process, watch, SIGNALS)
            sent = theirs.recv(100), theirs.recv(100)
            return started, process.poll() == ExitStatus(signal=15), sent

    assert in_child(run) == (False, True, (b'{"signal": 15}', b""))
