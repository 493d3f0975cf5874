import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.client.ps_command import _draw, _make_row, ps
from tests.supervisor.client.fake_supervisor import answering, make_answer, make_refusal

WEB = {
    "name": "web-1",
    "group": "web",
    "state": "RUNNING",
    "reason": "",
    "pid": 4711,
    "uptime_s": 192.7,
    "restarts": 2,
    "health": "ready",
    "cpu_percent": 12.34,
    "memory_bytes": 1572864,
    "processes": 17,
    "last_exit": "exit code 3",
    "command": ["sh", "-c", "exec\tnginx"],
    "is_well": True,
}
BATCH = {"name": "batch", "state": "FATAL", "reason": "3 failures", "pid": None, "is_well": False}


def show(directory: Path, answer: bytes, *words: str) -> tuple[int, bytes]:
    """Return the exit status of `mocker ps`, and what was asked."""
    with answering(directory, answer) as asked:
        status = ps(words)
    return status, asked[0].partition(b" HTTP")[0]


def test_jobs_are_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, asked = show(tmp_path, make_answer({"jobs": [WEB]}))

    assert (status, asked) == (0, b"GET /v1/jobs?stats=1")
    assert capsys.readouterr().out == (
        "NAME   STATE    PID   UPTIME  RESTARTS  HEALTH  CPU    MEM\n"
        "web-1  RUNNING  4711  3m12s   2         ready   12.3%  1.5M\n"
    )


def test_wide_table_has_what_is_run_and_why_it_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(tmp_path, make_answer({"jobs": [WEB, BATCH]}), "-o", "wide")

    head, web, batch = capsys.readouterr().out.splitlines()
    assert head.split()[-5:] == ["PROCESSES", "LAST", "EXIT", "REASON", "COMMAND"]
    assert web.endswith(r"17         exit code 3  -           sh -c exec\tnginx")
    assert batch.split() == ["batch", "FATAL", *"--------", "3", "failures"]


def test_without_jobs_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = show(tmp_path, make_answer({"jobs": []}))

    assert status == 0
    assert capsys.readouterr().out == "NAME  STATE  PID  UPTIME  RESTARTS  HEALTH  CPU  MEM\n"


def test_job_that_is_not_well_makes_it_3(tmp_path: Path) -> None:
    assert show(tmp_path, make_answer({"jobs": [WEB, BATCH]}))[0] == 3


def test_job_that_is_not_there_makes_it_4(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    refusal = make_refusal(404, "no-such-job", "there is no job 'x y'")

    status, asked = show(tmp_path, refusal, "web", "x y")

    assert (status, asked) == (4, b"GET /v1/jobs?name=web&name=x%20y&stats=1")
    assert capfd.readouterr() == ("", "mocker ps: there is no job 'x y'\n")


def test_program_gets_what_the_supervisor_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(tmp_path, make_answer({"jobs": [WEB], "new": 1}), "--json")

    assert json.loads(capsys.readouterr().out) == {"jobs": [WEB], "new": 1}


def test_names_may_be_all_that_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _ = show(tmp_path, make_answer({"jobs": [WEB, BATCH]}), "-q")

    assert (status, capsys.readouterr().out) == (3, "web-1\nbatch\n")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"workers": []}, "it has no 'jobs'"),
        ({"jobs": {}}, "its 'jobs' is no list of objects"),
        ({"jobs": [{"is_well": True}]}, "it has no 'name'"),
        ({"jobs": [{"name": "web"}]}, "it has no 'is_well'"),
    ],
)
def test_what_answers_and_is_no_supervisor_is_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], answer: dict[str, object], reason: str
) -> None:
    status, _ = show(tmp_path, make_answer(answer))

    sentence = f"mocker ps: cannot understand what answers there: {reason}\n"
    assert (status, capfd.readouterr()) == (1, ("", sentence))


def test_older_supervisor_need_not_know_all_that_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(tmp_path, make_answer({"jobs": [{"name": "web", "is_well": True, "health": [1]}]}))

    assert capsys.readouterr().out.splitlines()[1].split() == ["web", *"----", "[1]", "-", "-"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(WEB)), json_values))
def test_whatever_is_said_of_a_job_is_a_row(job: dict[str, object]) -> None:
    row = _make_row({"name": "web", **job}, is_wide=True)

    assert len(row) == 12
    assert all(isinstance(cell, str) for cell in row)


def test_unknown_output_is_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert ps(["-o", "yaml"]) == 2
    assert capfd.readouterr().err == "mocker ps: -o must be 'wide', not 'yaml'\n"


@pytest.mark.parametrize(
    ("columns", "rows", "shown"),
    [
        (80, 24, ["NAME  STATE", "web   RUNNING"]),
        (6, 24, ["NAME  ", "web   "]),
        (80, 2, ["NAME  STATE"]),
        (80, 1, ["NAME  STATE"]),
        (0, 0, ["NAME  STATE", "web   RUNNING"]),
    ],
)
def test_table_is_cut_to_the_terminal(columns: int, rows: int, shown: list[str]) -> None:
    text = "NAME  STATE\nweb   RUNNING\n"

    drawn = "".join(f"{line}\033[K\n" for line in shown)
    assert _draw(text, columns, rows) == f"\033[H{drawn}\033[J"


def test_watch_looks_until_the_supervisor_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mocker.supervisor.client.ps_command._PAUSE_S", 0)

    with answering(tmp_path, make_answer({"jobs": [WEB]}), make_answer({"jobs": [BATCH]})):
        status = ps(["--watch", "-q"])

    out, err = capfd.readouterr()
    assert (status, out) == (1, "web-1\nbatch\n")
    assert err.startswith("mocker ps: ")
