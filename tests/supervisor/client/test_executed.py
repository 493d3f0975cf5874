"""What is executed as its caller has it; here the test is the supervisor."""

import json
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, ExitStatus, SpecError
from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.blocking_transport import run_blocking
from mocker.supervisor.client.exchange import AnswerError
from mocker.supervisor.client.exec_messages import render_exec
from mocker.supervisor.client.executed import Executed
from tests.supervisor.client.exec_listener import asked, find_connections, tell

SPEC = ContainerSpec(["echo", "\udcff"], env={"A": "1"}, user="nobody", workdir="/tmp")
REFUSAL = {"error": {"code": "x", "message": "no"}, "exit_code": 125}


@contextmanager
def executed(
    directory: Path, spec: ContainerSpec = SPEC, first: Mapping[str, object] = {}
) -> Iterator[tuple[Executed, socket.socket]]:
    """Ask for a process; give the supervisor's end of the connection too."""
    process = Executed(find_connections(directory), render_exec("web", spec), spec, "it is gone")
    with asked(directory, process, (0, 1, 2), first) as theirs:
        yield process, theirs


def test_request_has_all_that_counts_and_the_descriptors(tmp_path: Path) -> None:
    with executed(tmp_path) as (_, theirs):
        message, fds, _, _ = socket.recv_fds(theirs, 2**16, 5)

    for fd in fds:
        os.close(fd)
    assert (message, len(fds)) == (render_exec("web", SPEC), 3)


@pytest.mark.parametrize(
    ("news", "status"),
    [
        ({"exited": 3}, ExitStatus(code=3)),
        ({"killed": 9}, ExitStatus(signal=9)),
    ],
)
def test_end_is_waited_for(news: dict[str, object], status: ExitStatus, tmp_path: Path) -> None:
    with executed(tmp_path) as (process, theirs):
        tell(theirs, {"started": 5, "version": "77.0"})
        run_blocking(process.wait_started())
        before = process.poll()
        tell(theirs, news)

        assert (before, run_blocking(process.wait()), process.poll()) == (None, status, status)
        assert (process.is_started, process.version, process.failure) == (True, "77.0", None)


@pytest.mark.parametrize("reads", [False, True])
def test_refusal_is_told_whether_or_not_the_request_was_read(reads: bool, tmp_path: Path) -> None:
    with executed(tmp_path) as (process, theirs):
        if reads:
            theirs.recv(2**16)
        tell(theirs, REFUSAL)
        theirs.close()

        with pytest.raises(AnswerError, match=r"^no$") as error:
            run_blocking(process.wait_started())
        assert (error.value.code, error.value.exit_code) == ("x", 125)
        assert process.poll() == ExitStatus(code=125)


def test_refusal_is_told_to_who_asks_too_late(tmp_path: Path) -> None:
    with (
        executed(tmp_path, first=REFUSAL) as (process, _),
        pytest.raises(AnswerError, match=r"^no$"),
    ):
        run_blocking(process.wait_started())


@pytest.mark.parametrize(
    ("started", "status", "text"),
    [
        (True, ExitStatus(signal=9), "it is gone"),
        (False, ExitStatus(code=125), "cannot ask the supervisor: it is gone, or lets nobody in"),
    ],
)
def test_supervisor_that_goes_away_is_told(
    started: bool, status: ExitStatus, text: str, tmp_path: Path
) -> None:
    with executed(tmp_path) as (process, theirs):
        theirs.recv(2**16)  # what is left unread would be lost with what is told
        if started:
            tell(theirs, {"started": 5})
        theirs.close()

        with pytest.raises(NoSupervisorError, match=f"^{text}$"):
            run_blocking(process.wait())
        assert process.poll() == status


def test_stop_is_told_once_and_not_after_the_end(tmp_path: Path) -> None:
    with executed(tmp_path) as (process, theirs):
        tell(theirs, {"started": 5})
        tell(theirs, {"stopped": 20})
        stops = process.take_stop(), process.take_stop()
        tell(theirs, {"stopped": 20})
        tell(theirs, {"exited": 0})

        assert (stops, process.take_stop()) == ((20, 0), 0)


def test_signals_are_sent_and_what_only_terminals_can_do_is_replaced(tmp_path: Path) -> None:
    with executed(tmp_path) as (process, theirs):
        theirs.recv(2**16)
        for number in (signal.SIGUSR1, signal.SIGTSTP):
            process.send_signal(number)
        process.kill()
        sent = [json.loads(theirs.recv(100)) for _ in range(3)]
        theirs.close()
        process.send_signal(signal.SIGTERM)

    assert sent == [{"signal": 10}, {"signal": 19}, {"signal": 9}]


def test_terminal_comes_with_the_start_and_is_closed_in_the_end(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    with executed(tmp_path) as (process, theirs):
        tell(theirs, {"started": 5}, (write_end,))
        os.close(write_end)
        run_blocking(process.wait_started())
        has = process.terminal_fd >= 0

    with os.fdopen(read_end, "rb") as rest:
        assert (has, process.terminal_fd, rest.read()) == (True, -1, b"")


def test_terminal_that_somebody_has_taken_is_theirs(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    with executed(tmp_path) as (process, theirs):
        theirs.recv(2**16)
        tell(theirs, {"started": 5}, (write_end,))
        os.close(write_end)
        run_blocking(process.wait_started())
        taken = process.take_terminal()
        process.send_signal(signal.SIGTSTP)
        sent = theirs.recv(100)

    with os.fdopen(read_end, "rb") as rest, os.fdopen(taken, "wb", buffering=0) as terminal:
        terminal.write(b"open")
        terminal.close()
        assert (sent, rest.read()) == (b'{"signal": 20}', b"open")


def test_who_leaves_is_gone_at_once(tmp_path: Path) -> None:
    with executed(tmp_path) as (process, theirs):
        theirs.recv(2**16)
        process.leave(ExitStatus(signal=15))
        process.leave(ExitStatus(signal=9))

        assert (process.poll(), theirs.recv(100)) == (ExitStatus(signal=15), b"")


def test_too_long_a_request_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(SpecError, match="they may have 128 KiB"),
        executed(tmp_path, ContainerSpec(["echo", "x" * 500_000])),
    ):
        pass


def test_it_is_of_use_only_once_it_is_connected(tmp_path: Path) -> None:
    process = Executed(find_connections(tmp_path), b"", SPEC, "")

    with pytest.raises(RuntimeError, match="async with"):
        process.ask()
