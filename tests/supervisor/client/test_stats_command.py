"""What `mocker stats` shows of an answer; `end_to_end` has the supervisor."""

import json
from pathlib import Path

import pytest

from mocker.supervisor.client.stats_command import stats
from tests.supervisor.client.answerer import open_answerer

WEB = {
    "name": "web",
    "state": "RUNNING",
    "pid": 100,
    "cpu_percent": 12.5,
    "cpu_s": 64.2,
    "memory_bytes": 3 * 2**20,
    "processes": 4,
    "output_bytes": 2048,
    "output_lines": None,
    "restarts": 2,
}
DB = dict.fromkeys(WEB) | {"name": "db", "output_bytes": 0, "output_lines": 0, "restarts": 0}


def test_figures_are_shown_in_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_answerer(tmp_path, {"/v1/stats": {"jobs": [WEB, DB]}}) as (path, asked):
        status = stats(["-s", path, "web", "db"])

    assert (status, asked) == (0, ["GET /v1/stats?name=web&name=db"])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split("  ", 1)[0] == "NAME"
    assert head.endswith("  CPU TIME  MEM   PROCESSES  PRESSURE  BYTES  LINES  RESTARTS")
    assert [row.split() for row in rows] == [
        ["web", "12.5%", "1m4s", "3.0M", "4", "-", "2.0K", "-", "2"],
        ["db", "-", "-", "-", "-", "-", "0", "0", "0"],
    ]


def test_lines_that_were_not_all_counted_have_a_sign(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flood = WEB | {"output_lines": 1234, "output_lines_exact": False}
    with open_answerer(tmp_path, {"/v1/stats": {"jobs": [flood]}}) as (path, _):
        stats(["-s", path])

    assert capsys.readouterr().out.split()[-2:] == ["1234+", "2"]


def test_memory_is_shown_with_its_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limited = WEB | {"memory_limit_bytes": 256 * 2**20}
    with open_answerer(tmp_path, {"/v1/stats": {"jobs": [limited]}}) as (path, _):
        stats(["-s", path])

    assert "3.0M/256.0M" in capsys.readouterr().out


def test_pressure_is_shown_by_what_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pressed = WEB | {"pressure": {"cpu": 2.5, "io": 0.0, "memory": 61.25}}
    with open_answerer(tmp_path, {"/v1/stats": {"jobs": [pressed, DB]}}) as (path, _):
        stats(["-s", path])

    _, web, db = capsys.readouterr().out.splitlines()
    assert "  4          cpu 2.5%, io 0.0%, memory 61.2%  2.0K  " in web
    assert db.split() == ["db", *"-----", *"000"]


def test_json_is_what_the_supervisor_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_answerer(tmp_path, {"/v1/stats": {"jobs": [WEB]}}) as (path, _):
        stats(["-s", path, "--json"])

    assert json.loads(capsys.readouterr().out) == {"jobs": [WEB]}


def test_answer_of_something_else_is_not_understood(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_answerer(tmp_path, {"/v1/stats": {"hello": "world"}}) as (path, _):
        status = stats(["-s", path])

    assert status == 1
    assert "cannot understand what answers there: " in capfd.readouterr().err
