from pathlib import Path

import pytest

from mocker.supervisor.client.events_command import events
from tests.supervisor.client.fake_supervisor import answering, make_lines

RUNNING = {
    "time": "2026-11-22T08:29:12.000123Z",
    "event": "snapshot",
    "job": "web",
    "state": "RUNNING",
    "reason": "",
    "pid": 12,
    "attempt": 2,
    "exit": None,
}
GIVEN_UP = RUNNING | {
    "event": "change",
    "state": "FATAL",
    "pid": None,
    "reason": "5 failures",
    "exit": "exit code 3",
}
IDLE = RUNNING | {"state": "STOPPED", "pid": None, "attempt": 0}
REMOVED = {"time": "2026-11-22T08:29:13.000123Z", "event": "removal", "job": "web"}
TOO_SLOW = {"error": {"code": "too-slow", "message": "too many changes were not taken"}}


@pytest.fixture(autouse=True)
def _known_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCKER_SOCKET", "demo")


def test_each_change_is_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paused, killed = RUNNING | {"paused": True}, GIVEN_UP | {"oom_killed": True}
    with answering(tmp_path, make_lines(RUNNING, paused, GIVEN_UP, killed, IDLE, REMOVED)):
        status = events([])

    assert (status, capfd.readouterr().out) == (
        0,
        "2026-11-22T08:29:12.000123Z  web  RUNNING  pid 12  attempt 2\n"
        "2026-11-22T08:29:12.000123Z  web  RUNNING (paused)  pid 12  attempt 2\n"
        "2026-11-22T08:29:12.000123Z  web  FATAL  attempt 2  (exit code 3; 5 failures)\n"
        "2026-11-22T08:29:12.000123Z  web  FATAL  attempt 2  (exit code 3; OOMKilled; 5 failures)\n"
        "2026-11-22T08:29:12.000123Z  web  STOPPED\n"
        "2026-11-22T08:29:13.000123Z  web  removed\n",
    )


def test_programs_get_what_the_supervisor_answers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = make_lines(RUNNING, REMOVED)
    with answering(tmp_path, answer):
        events(["--json"])

    assert capfd.readouterr().out.encode() == answer.partition(b"\r\n\r\n")[2]


def test_reason_cannot_begin_a_line_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, make_lines(GIVEN_UP | {"reason": "a\nb\x1b[2J"})):
        events([])

    assert capfd.readouterr().out.endswith(r"a\nb\x1b[2J)" + "\n")


def test_one_that_was_too_slow_is_told_and_fails(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, make_lines(TOO_SLOW)):
        status = events([])

    text = "mocker events: too many changes were not taken\n"
    assert (status, *capfd.readouterr()) == (1, "", text)


def test_answer_that_no_supervisor_gives_makes_it_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, make_lines({"event": "change"})):
        status = events([])

    assert status == 1
    assert "a change has no 'time'" in capfd.readouterr().err


def test_jobs_are_not_taken(capfd: pytest.CaptureFixture[str]) -> None:
    assert events(["web"]) == 2
    assert capfd.readouterr().err == "mocker events: there is no use for 'web'\n"
