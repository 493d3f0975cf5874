"""A job as who is attached to it has it; here the test is the supervisor."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from mocker.isolation import ExitStatus
from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.attached_job import AttachedJob
from mocker.supervisor.client.blocking_transport import run_blocking
from mocker.supervisor.client.client import Client
from mocker.supervisor.client.exchange import AnswerError
from tests.supervisor.client.exec_listener import asked, find_connections, serving, tell


@contextmanager
def attached(directory: Path) -> Iterator[tuple[AttachedJob, socket.socket]]:
    """Ask for a job; give the supervisor's end of the connection too."""
    job = AttachedJob(find_connections(directory), "web")
    with asked(directory, job) as theirs:
        yield job, theirs


def test_request_names_the_job(tmp_path: Path) -> None:
    with attached(tmp_path) as (job, theirs):
        assert json.loads(theirs.recv(100)) == {"attach": "web"}
        assert job.job == "web"


@pytest.mark.parametrize("code", ["no-such-job", "no-terminal", "stalled"])
def test_problem_is_told(code: str, tmp_path: Path) -> None:
    with attached(tmp_path) as (job, theirs):
        tell(theirs, {"error": {"code": code, "message": "no"}, "exit_code": 125})

        with pytest.raises(AnswerError, match=r"^no$") as error:
            run_blocking(job.wait())
        assert error.value.code == code


def test_supervisor_that_goes_away_is_a_problem(tmp_path: Path) -> None:
    with attached(tmp_path) as (job, theirs):
        theirs.recv(100)
        tell(theirs, {"started": 5})
        theirs.close()
        job.resize(30, 100)

        with pytest.raises(NoSupervisorError, match=r"^the supervisor is gone$"):
            run_blocking(job.wait())


def test_signal_to_end_leaves_the_job_and_others_do_nothing(tmp_path: Path) -> None:
    with attached(tmp_path) as (job, theirs):
        theirs.recv(100)
        job.send_signal(signal.SIGTSTP)
        before = job.poll()
        job.send_signal(signal.SIGTERM)
        job.kill()

        assert (before, job.poll(), theirs.recv(100)) == (None, ExitStatus(signal=15), b"")


def test_size_is_told(tmp_path: Path) -> None:
    with attached(tmp_path) as (job, theirs):
        theirs.recv(100)
        job.resize(30, 100)

        assert json.loads(theirs.recv(100)) == {"size": [30, 100]}


async def test_program_has_its_terminal_for_the_length_of_a_block(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:

        async def serve(connected: trio.socket.SocketType) -> None:
            await connected.recv(100)
            tell(connected, {"started": 5}, [theirs.fileno()])
            theirs.close()
            await connected.recv(100)

        async with serving(tmp_path, serve), Client(str(tmp_path / "web.sock")) as client:
            async with client.attach("web") as job:
                await job.terminal.send_all(b"typed")
                ours.sendall(b"printed")
                printed = await job.terminal.receive_some()

            assert (ours.recv(100), ours.recv(100), printed) == (b"typed", b"", b"printed")


async def test_refusal_is_told_at_the_beginning(tmp_path: Path) -> None:
    async def serve(connected: trio.socket.SocketType) -> None:
        tell(connected, {"error": {"code": "no-terminal", "message": "no"}, "exit_code": 125})

    async with serving(tmp_path, serve), Client(str(tmp_path / "web.sock")) as client:
        with pytest.raises(AnswerError, match=r"^no$"):
            async with client.attach("web"):
                pass


def test_terminal_is_there_only_in_its_block(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        AttachedJob(find_connections(tmp_path), "web").terminal  # noqa: B018
