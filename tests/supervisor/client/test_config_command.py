"""What `mocker config` makes of an answer; `end_to_end` has the supervisor."""

import json
from pathlib import Path

import pytest

from mocker.supervisor.client.config_command import config
from tests.supervisor.client.fake_supervisor import answering, make_answer, make_refusal

WEB = {"name": "web", "group": "web", "config": {"command": ["true"], "grace": 10}}
DB = {"name": "db", "group": "db", "config": {"command": ["false"]}}


@pytest.fixture(autouse=True)
def _ask_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCKER_SOCKET", str(tmp_path / "mocker/demo.sock"))


def test_jobs_are_shown_as_toml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, make_answer({"jobs": [WEB, DB]})):
        status = config(["all"])

    assert status == 0
    assert capsys.readouterr().out == (
        '[jobs.web]\ncommand = ["true"]\ngrace = 10\n\n[jobs.db]\ncommand = ["false"]\n'
    )


def test_json_is_what_the_supervisor_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, make_answer({"jobs": [WEB]})):
        config(["web", "--json"])

    assert json.loads(capsys.readouterr().out) == {"jobs": [WEB]}


@pytest.mark.parametrize(
    ("name", "part"),
    [("web", b"web"), ("w*", b"w%2A"), ("a/../b", b"a%2F..%2Fb"), ("é", b"%C3%A9")],
)
def test_name_is_a_part_of_the_path_whatever_it_is(tmp_path: Path, name: str, part: bytes) -> None:
    with answering(tmp_path, make_refusal(404, "no-such-job", "there is none")) as asked:
        status = config([name])

    assert status == 4
    assert asked[0].startswith(b"GET /v1/jobs/" + part + b"/config HTTP/1.1\r\n")


def test_answer_of_something_else_is_not_understood(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, make_answer({"hello": "world"})):
        status = config(["web"])

    assert status == 1
    assert "cannot understand what answers there" in capfd.readouterr().err


def test_it_takes_one_word(capfd: pytest.CaptureFixture[str]) -> None:
    assert config([]) == 2
    assert capfd.readouterr().err == "mocker config: JOB is needed\n"
