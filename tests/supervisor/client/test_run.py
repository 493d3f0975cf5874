import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from mocker.isolation import SpecError
from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.arguments import Command
from mocker.supervisor.client.exchange import AnswerError, ProtocolError
from mocker.supervisor.client.run import Ask, run
from mocker.supervisor.options import Parsed
from tests.supervisor.client.fake_supervisor import answering, make_answer

LOOK = Command("look", "[JOB...]", "Look at jobs.")


def look(parsed: Parsed, ask: Ask) -> int:
    sys.stdout.write(f"{ask().ask('GET', '/v1/jobs')}\n")
    return os.EX_OK


def look_twice(parsed: Parsed, ask: Ask) -> int:
    return look(parsed, ask) + look(parsed, ask)


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
    def fail(parsed: Parsed, ask: Ask) -> int:
        sys.stdout.write("so far\n")
        raise error

    assert run(LOOK, [], fail) == status
    assert capfd.readouterr() == ("so far\n", f"mocker look: {sentence}\n")


def test_status_is_that_of_the_command() -> None:
    assert run(LOOK, ["web"], lambda parsed, ask: len(parsed.words) + 6) == 7


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
