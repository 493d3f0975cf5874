import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from mocker.isolation import SpecError
from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.arguments import Command
from mocker.supervisor.client.client import Client
from mocker.supervisor.client.exchange import AnswerError, ProtocolError
from mocker.supervisor.client.run import run
from mocker.supervisor.options import Parsed
from tests.supervisor.client.fake_supervisor import answering, make_answer, make_lines, make_refusal

LOOK = Command("look", "[JOB...]", "Look at jobs.")


async def look(parsed: Parsed, client: Client) -> int:
    async with client:
        sys.stdout.write(f"{await client.ask('GET', '/v1/jobs')}\n")
    return os.EX_OK


async def look_twice(parsed: Parsed, client: Client) -> int:
    return await look(parsed, client) + await look(parsed, client)


async def follow(parsed: Parsed, client: Client) -> int:
    async with client, client.stream("GET", "/v1/events") as events:
        async for _ in events:
            pass
    return os.EX_OK


async def count(parsed: Parsed, client: Client) -> int:
    return len(parsed.words) + 6


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (SpecError("it is wrong"), 2, "it is wrong"),
        (NoSupervisorError("there is none"), 1, "there is none"),
        (ProtocolError("it sings"), 1, "cannot understand what answers there: it sings"),
        (AnswerError(500, b""), 1, "the answer is HTTP 500"),
        (
            AnswerError(404, b'{"error": {"code": "no-such-job", "message": "there is no job"}}'),
            4,
            "there is no job",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_wrong_is_a_sentence_and_a_status(
    error: Exception, status: int, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fail(parsed: Parsed, client: Client) -> int:
        sys.stdout.write("so far\n")
        raise error

    assert run(LOOK, [], fail) == status
    assert capfd.readouterr() == ("so far\n", f"mocker look: {sentence}\n")


def test_status_is_that_of_the_command() -> None:
    assert run(LOOK, ["web"], count) == 7


def test_lines_that_nobody_reads_any_more_are_no_error(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    without_an_end = make_lines({"job": "web"})[:-1]  # which is an error of the supervisor's

    with answering(tmp_path, without_an_end), os.fdopen(write_end, "wb") as shown:
        status = run(LOOK, [], follow, reader_fd=shown.fileno())

    assert status == 0


def test_refusal_is_told_to_who_does_not_read_the_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    refusal = make_refusal(404, "no-such-job", "there is no job")

    with answering(tmp_path, refusal), os.fdopen(write_end, "wb") as shown:
        status = run(LOOK, [], follow, reader_fd=shown.fileno())

    assert (status, capfd.readouterr()) == (4, ("", "mocker look: there is no job\n"))


def test_help_asks_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(LOOK, ["--help"], look) == 0
    assert capsys.readouterr().out.startswith("usage: mocker look [OPTIONS] [JOB...]\n")


def test_supervisor_of_this_version_is_not_spoken_of(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ours = version("mocker-supervise")

    with answering(tmp_path, make_answer({"jobs": []}, version=ours)):
        status = run(LOOK, [], look)

    assert (status, capfd.readouterr()) == (0, ("{'jobs': []}\n", ""))


def test_supervisor_of_another_version_is_told_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = make_answer({"jobs": []}, version="77.0")

    with answering(tmp_path, answer, answer):
        status = run(LOOK, ["-s", "demo"], look_twice)

    sentence = f"this is mocker {version('mocker-supervise')}, the supervisor is 77.0"
    assert status == 0
    assert capfd.readouterr() == ("{'jobs': []}\n" * 2, f"mocker look: {sentence}\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_caller_may_close_what_it_does_not_want(tmp_path: Path, closed: str) -> None:
    command = Path(sys.executable).with_name("mocker")

    result = subprocess.run(
        ["sh", "-c", f'"$0" ps {closed}', command],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        check=False,
    )

    told = "" if "2>&-" in closed else result.stderr
    assert (result.returncode, result.stdout, result.stderr) == (1, "", told)
    assert told.count("\n") == ("2>&-" not in closed)
