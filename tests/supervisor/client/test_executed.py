"""A process in a job as its caller has it; here the test is the supervisor."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mocker.isolation import ContainerSpec, ExitStatus, SpecError
from mocker.supervisor.client.executed import Executed
from tests.in_namespaces import run_in_child

SPEC = ContainerSpec(["echo", "\udcff"], env={"A": "1"}, user="nobody", workdir="/tmp")
SIGNALS: set[int] = {signal.SIGTERM, signal.SIGUSR1}


@contextmanager
def executed(spec: ContainerSpec = SPEC) -> Iterator[tuple[Executed, socket.socket]]:
    """Ask for a process; yield the supervisor's end of the connection too."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS | {signal.SIGCHLD})
    with theirs, Executed(ours, "web", spec, (0, 1, 2)) as process:
        yield process, theirs


def tell(theirs: socket.socket, values: dict[str, object], fds: tuple[int, ...] = ()) -> None:
    socket.send_fds(theirs, [json.dumps(values).encode()], fds)


def in_child(function: Callable[[], object]) -> object:
    """Call it where the signals that it blocks are nobody else's."""
    return run_in_child(function)


def test_request_has_all_that_counts_and_three_descriptors() -> None:
    def run() -> object:
        with executed() as (_, theirs):
            message, fds, _, _ = socket.recv_fds(theirs, 2**16, 5)
            return json.loads(message.decode("utf-8", "surrogateescape")), len(fds)

    assert in_child(run) == (
        {
            "job": "web",
            "argv": ["echo", "\udcff"],
            "env": {"A": "1"},
            "user": "nobody",
            "workdir": "/tmp",
            "terminal": False,
        },
        3,
    )


@pytest.mark.parametrize(
    ("news", "status", "problem"),
    [
        ({"exited": 3}, ExitStatus(code=3), ""),
        ({"killed": 9}, ExitStatus(signal=9), ""),
        ({"error": {"code": "x", "message": "no"}, "exit_code": 127}, ExitStatus(code=127), "no"),
        ({"error": {"code": "x", "message": "no"}}, ExitStatus(code=125), "no"),
    ],
)
def test_end_is_what_is_told(news: dict[str, object], status: ExitStatus, problem: str) -> None:
    def run() -> object:
        with executed() as (process, theirs):
            tell(theirs, {"started": 5})
            started = process.wait_started(SIGNALS), process.poll()
            tell(theirs, news)
            signal.sigwait({signal.SIGCHLD})
            return started, process.poll() == status, process.problem

    assert in_child(run) == ((True, None), True, problem)


def test_error_instead_of_a_start_is_told() -> None:
    def run() -> object:
        with executed() as (process, theirs):
            tell(theirs, {"error": {"code": "x", "message": "no"}, "exit_code": 125})
            return process.wait_started(SIGNALS), process.poll() == ExitStatus(code=125)

    assert in_child(run) == (False, True)


@pytest.mark.parametrize(
    ("started", "status", "problem"),
    [
        (True, ExitStatus(signal=9), "the supervisor is gone, and what was executed with it"),
        (False, ExitStatus(code=125), "cannot ask the supervisor: it is gone, or lets nobody in"),
    ],
)
def test_supervisor_that_goes_away_is_a_problem(
    started: bool, status: ExitStatus, problem: str
) -> None:
    def run() -> object:
        with executed() as (process, theirs):
            theirs.recv(2**16)  # what is left unread would be lost with what is told
            if started:
                tell(theirs, {"started": 5})
            theirs.close()
            process.wait_started(SIGNALS)
            return process.poll() == status, process.problem

    assert in_child(run) == (True, problem)


def test_signals_before_the_start_are_handed_on_and_the_second_to_end_gives_it_up() -> None:
    def run() -> object:
        with executed() as (process, theirs):
            socket.recv_fds(theirs, 2**16, 0)
            os.kill(os.getpid(), signal.SIGTERM)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
            started = process.wait_started(SIGNALS)
            sent = theirs.recv(100), theirs.recv(100)
            return started, process.poll() == ExitStatus(signal=15), sent

    assert in_child(run) == (False, True, (b'{"signal": 15}', b""))


@pytest.mark.parametrize("reads", [False, True])
def test_refusal_is_told_whether_or_not_the_request_was_read(reads: bool) -> None:
    def run() -> object:
        with executed() as (process, theirs):
            if reads:
                theirs.recv(2**16)
            tell(theirs, {"error": {"code": "x", "message": "no"}, "exit_code": 125})
            theirs.close()
            return process.wait_started(SIGNALS), process.problem

    assert in_child(run) == (False, "no")


def test_refusal_is_told_to_who_asks_too_late() -> None:
    def run() -> object:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        tell(theirs, {"error": {"code": "x", "message": "no"}, "exit_code": 125})
        theirs.close()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS | {signal.SIGCHLD})
        with Executed(ours, "web", SPEC, (0, 1, 2)) as process:
            return process.wait_started(SIGNALS), process.problem

    assert in_child(run) == (False, "no")


@pytest.mark.parametrize(
    "news",
    [{"started": 5}, {"error": {"code": "x", "message": "no"}, "exit_code": 125}],
    ids=["started", "error"],
)
def test_version_of_the_supervisor_comes_with_its_first_answer(news: dict[str, object]) -> None:
    def run() -> object:
        with executed() as (process, theirs):
            tell(theirs, {**news, "version": "77.0"})
            process.wait_started(SIGNALS)
            tell(theirs, {"exited": 0})
            process.poll()
            return process.version

    assert in_child(run) == "77.0"


def test_stop_is_told_once_and_not_after_the_end() -> None:
    def run() -> object:
        with executed() as (process, theirs):
            tell(theirs, {"started": 5})
            tell(theirs, {"stopped": 20})
            stops = process.take_stop(), process.take_stop()
            tell(theirs, {"stopped": 20})
            tell(theirs, {"exited": 0})
            return stops, process.take_stop()

    assert in_child(run) == ((20, 0), 0)


def test_signals_are_sent_and_what_only_terminals_can_do_is_replaced() -> None:
    def run() -> object:
        with executed() as (process, theirs):
            theirs.recv(2**16)
            for number in (signal.SIGUSR1, signal.SIGTSTP):
                process.send_signal(number)
            process.kill()
            sent = [json.loads(theirs.recv(100)) for _ in range(3)]
            theirs.close()
            process.send_signal(signal.SIGTERM)
            return sent

    assert in_child(run) == [{"signal": 10}, {"signal": 19}, {"signal": 9}]


def test_terminal_comes_with_the_start_and_is_closed_in_the_end() -> None:
    def run() -> object:
        read_end, write_end = os.pipe()
        with executed() as (process, theirs):
            tell(theirs, {"started": 5}, (write_end,))
            os.close(write_end)
            process.wait_started(SIGNALS)
            has = process.terminal_fd >= 0
        return has, process.terminal_fd, os.read(read_end, 1)

    assert in_child(run) == (True, -1, b"")


def test_too_long_a_request_is_refused() -> None:
    def run() -> object:
        spec = ContainerSpec(["echo", "x" * 500_000])
        try:
            with executed(spec):
                return ""
        except SpecError as error:
            return str(error)

    assert in_child(run) == "arguments and environment are too long; they may have 128 KiB"
