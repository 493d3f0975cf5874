"""What `mocker reload` makes of an answer; `end_to_end` has the supervisor."""

import json
from pathlib import Path

import pytest

from mocker.supervisor.client.reload_command import reload
from tests.supervisor.client.fake_supervisor import answering, make_answer, make_refusal

NOTHING = {"added": [], "removed": [], "changed": {}, "unchanged": 3, "needs_restart": []}
CHANGES = {
    "added": ["new"],
    "removed": ["old"],
    "changed": {"web": ["command", "env"]},
    "unchanged": 3,
    "needs_restart": ["log_format"],
}


@pytest.fixture(autouse=True)
def _ask_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCKER_SOCKET", str(tmp_path / "mocker/demo.sock"))


def test_changes_are_told_job_by_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, make_answer(CHANGES)) as asked:
        status = reload([])

    assert status == 0
    assert asked[0].startswith(b"POST /v1/reload ")
    assert capsys.readouterr().out.splitlines() == [
        "new: added",
        "web: changed (command, env)",
        "old: removed",
        "supervisor.log_format: stays as it is until the supervisor is started anew",
    ]


def test_plan_is_told_as_what_is_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, make_answer(CHANGES)) as asked:
        reload(["-n"])

    assert asked[0].startswith(b"GET /v1/reload ")
    assert capsys.readouterr().out.splitlines()[:3] == [
        "new: to be added",
        "web: to be changed (command, env)",
        "old: to be removed",
    ]


def test_nothing_is_told_as_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, make_answer(NOTHING)):
        reload([])

    assert capsys.readouterr().out == "nothing has changed\n"


def test_json_is_what_the_supervisor_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, make_answer(CHANGES)):
        reload(["--json"])

    assert json.loads(capsys.readouterr().out) == CHANGES


def test_all_mistakes_of_a_file_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    error = {"code": "config-rejected", "message": "no", "mistakes": ["a:1: one", "a:2: two"]}

    with answering(tmp_path, make_answer({"error": error}, 422)):
        status = reload([])

    assert status == 2
    assert capfd.readouterr().err == "mocker reload: a:1: one\nmocker reload: a:2: two\n"


def test_who_may_not_see_the_mistakes_is_told_that_there_are_some(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    error = {"code": "config-rejected", "message": "the file has 1 mistake", "mistakes": []}

    with answering(tmp_path, make_answer({"error": error}, 422)):
        status = reload(["-n"])

    assert (status, capfd.readouterr().err) == (2, "mocker reload: the file has 1 mistake\n")


def test_other_refusal_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, make_refusal(409, "stopping", "the supervisor is stopping")):
        status = reload([])

    assert status == 1
    assert capfd.readouterr().err == "mocker reload: the supervisor is stopping\n"


@pytest.mark.parametrize("key", ["added", "changed", "removed", "needs_restart"])
def test_answer_of_something_else_is_not_understood(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], key: str
) -> None:
    with answering(tmp_path, make_answer({**CHANGES, key: 1})):
        status = reload([])

    assert status == 1
    assert "cannot understand what answers there" in capfd.readouterr().err


def test_it_takes_no_words(capfd: pytest.CaptureFixture[str]) -> None:
    assert reload(["web"]) == 2
    assert capfd.readouterr().err == "mocker reload: there is no use for 'web'\n"
