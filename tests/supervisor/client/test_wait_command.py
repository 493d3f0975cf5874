import json
from pathlib import Path

import pytest

from mocker.supervisor.client.wait_command import wait
from tests.supervisor.client.fake_supervisor import answering, make_lines, make_refusal

READY = {"job": "web", "outcome": "ready", "ok": True, "reason": "", "timed_out": False}
NEVER = READY | {"outcome": "not ready", "ok": False, "reason": "it is FATAL"}
LATE = NEVER | {"job": "db", "reason": "the time is over", "timed_out": True}


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["web"], {"jobs": ["web"], "for": "ready"}),
        (["web", "--for", "completed"], {"jobs": ["web"], "for": "completed"}),
        (["a", "b", "--for=stopped"], {"jobs": ["a", "b"], "for": "stopped"}),
    ],
)
def test_what_is_typed_is_asked_for(
    tmp_path: Path, words: list[str], body: dict[str, object]
) -> None:
    with answering(tmp_path, make_lines(READY)) as asked:
        wait(words)

    assert asked[0].startswith(b"POST /v1/wait HTTP/1.1\r\n")
    assert json.loads(asked[0].partition(b"\r\n\r\n")[2]) == body


def test_what_is_left_of_the_time_is_asked_for(tmp_path: Path) -> None:
    with answering(tmp_path, make_lines(READY)) as asked:
        wait(["web", "-t", "2m"])

    assert 110 < json.loads(asked[0].partition(b"\r\n\r\n")[2])["timeout_s"] <= 120


def test_supervisor_that_does_not_come_in_time_is_1(capfd: pytest.CaptureFixture[str]) -> None:
    assert wait(["web", "-t", "10ms"]) == 1
    assert capfd.readouterr().err.startswith("mocker wait: cannot find a supervisor in ")


@pytest.mark.parametrize(
    ("lines", "status", "shown"),
    [
        ([READY], 0, "web: ready\n"),
        ([NEVER], 1, "web: not ready (it is FATAL)\n"),
        ([READY, LATE], 124, "web: ready\ndb: not ready (the time is over)\n"),
    ],
)
def test_status_says_what_came_of_it(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    lines: list[dict[str, object]],
    status: int,
    shown: str,
) -> None:
    with answering(tmp_path, make_lines(*lines)):
        assert wait(["all"]) == status

    assert capsys.readouterr().out == shown


def test_unknown_job_is_4(tmp_path: Path) -> None:
    with answering(tmp_path, make_refusal(404, "no-such-job", "there is no job 'x'")):
        assert wait(["x"]) == 4


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "JOB... is needed"),
        (["--for", "ready"], "JOB... is needed"),
        (["x", "--for", "up"], "--for must be one of 'ready', 'completed', 'stopped', not 'up'"),
        (
            ["x", "--timeout", "soon"],
            "--timeout must be a duration such as '500ms', '10s' or '2m', not 'soon'",
        ),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    words: list[str], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert wait(words) == 2
    assert capfd.readouterr().err == f"mocker wait: {reason}\n"
