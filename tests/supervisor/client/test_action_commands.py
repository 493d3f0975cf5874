import json
from pathlib import Path

import pytest

from mocker.supervisor.client.action_commands import act, render_outcome
from mocker.supervisor.client.exchange import ProtocolError
from tests.supervisor.client.fake_supervisor import answering, make_lines, make_refusal

STOPPED = {"job": "web", "outcome": "stopped", "ok": True, "reason": ""}
REFUSED = {"job": "db", "outcome": "not started", "ok": False, "reason": "exit code 3"}


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["start", "web"], {"action": "start", "jobs": ["web"], "wait": True}),
        (["stop", "web", "db"], {"action": "stop", "jobs": ["web", "db"], "wait": True}),
        (["stop", "-f", "all"], {"action": "stop", "jobs": ["all"], "wait": True, "force": True}),
        (["restart", "w*", "--no-wait"], {"action": "restart", "jobs": ["w*"], "wait": False}),
        (
            ["restart", "--rolling", "web"],
            {"action": "restart", "jobs": ["web"], "wait": True, "rolling": True},
        ),
        (["pause", "web"], {"action": "pause", "jobs": ["web"], "wait": True}),
        (["resume", "all"], {"action": "resume", "jobs": ["all"]}),
        (["kill", "web"], {"action": "kill", "jobs": ["web"], "wait": True}),
        (["kill", "web", "--no-wait"], {"action": "kill", "jobs": ["web"], "wait": False}),
        (
            ["signal", "HUP", "web"],
            {"action": "signal", "signal": "HUP", "jobs": ["web"]},
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_typed_is_asked_for(
    tmp_path: Path, words: list[str], body: dict[str, object]
) -> None:
    with answering(tmp_path, make_lines(STOPPED)) as asked:
        act(words[0], words[1:])

    assert asked[0].startswith(b"POST /v1/actions HTTP/1.1\r\n")
    assert json.loads(asked[0].partition(b"\r\n\r\n")[2]) == body


def test_outcome_is_told_job_by_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, make_lines(REFUSED, STOPPED)):
        status = act("restart", ["all"])

    assert status == 1
    assert capsys.readouterr().out == "db: not started (exit code 3)\nweb: stopped\n"


def test_what_a_failed_start_has_said_is_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, make_lines(REFUSED | {"last_lines": ["one", "\033two"]})):
        act("start", ["db"])

    told = capfd.readouterr()
    assert told.out == "db: not started (exit code 3)\n"
    assert told.err == "db | one\ndb | \\x1btwo\n"


def test_all_that_is_well_is_0(tmp_path: Path) -> None:
    with answering(tmp_path, make_lines(STOPPED, STOPPED)):
        assert act("stop", ["web", "db"]) == 0


def test_refusal_is_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, make_refusal(409, "needed", "cannot stop what others need: api")):
        status = act("stop", ["db"])

    assert (status, capfd.readouterr().err) == (
        1,
        "mocker stop: cannot stop what others need: api\n",
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["start"], "JOB... is needed"),
        (["signal", "HUP"], "SIGNAL JOB... is needed"),
        (
            ["restart", "--rolling", "--no-wait", "web"],
            "--rolling has to wait, so it cannot be with --no-wait",
        ),
        (["kill", "--rolling", "web"], "unknown option '--rolling'; see 'mocker kill --help'"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    words: list[str], reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert act(words[0], words[1:]) == 2
    assert capfd.readouterr().err == f"mocker {words[0]}: {reason}\n"


def test_outcome_is_one_line_whatever_it_says() -> None:
    assert render_outcome(STOPPED | {"reason": "a\nb\033"}) == r"web: stopped (a\nb\x1b)"


@pytest.mark.parametrize("missing", ["job", "outcome"])
def test_what_is_no_outcome_is_no_answer(missing: str) -> None:
    with pytest.raises(ProtocolError, match=f"it has no '{missing}'"):
        render_outcome({key: value for key, value in STOPPED.items() if key != missing})
