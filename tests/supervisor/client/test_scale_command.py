"""What `mocker scale` makes of an answer; `end_to_end` has the supervisor."""

from pathlib import Path

import pytest

from mocker.supervisor.client.scale_command import scale
from tests.supervisor.client.fake_supervisor import answering, make_lines, make_refusal

STARTED = {"job": "web-2", "outcome": "started", "ok": True, "reason": ""}
FAILED = {"job": "web-3", "outcome": "not started", "ok": False, "reason": "it ended"}


@pytest.fixture(autouse=True)
def _ask_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCKER_SOCKET", str(tmp_path / "mocker/demo.sock"))


def test_outcomes_are_told_job_by_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, make_lines(STARTED)) as asked:
        status = scale(["web=2", "db=1"])

    assert (status, capsys.readouterr().out) == (0, "web-2: started\n")
    assert asked[0].endswith(b'{"jobs": {"web": 2, "db": 1}}')


def test_one_that_does_not_start_makes_the_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, make_lines(FAILED, STARTED)):
        status = scale(["web=3"])

    out = "web-3: not started (it ended)\nweb-2: started\n"
    assert (status, capsys.readouterr().out) == (1, out)


def test_no_outcome_means_that_there_are_so_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, make_lines()):
        status = scale(["web=3"])

    assert (status, capsys.readouterr().out) == (0, "nothing has changed\n")


def test_refusal_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, make_refusal(404, "no-such-job", "there is no job 'web'")):
        status = scale(["web=3"])

    assert (status, capfd.readouterr().err) == (4, "mocker scale: there is no job 'web'\n")


@pytest.mark.parametrize(
    "word", ["web", "web=", "=4", "web=x", "web=-1", "web=1234567890", "web=٣"]
)
def test_what_is_no_number_of_replicas_is_wrong_usage(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], word: str
) -> None:
    assert scale([word]) == 2
    assert "JOB=NUMBER is needed, such as web=4, not " in capfd.readouterr().err
