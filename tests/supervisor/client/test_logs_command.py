from pathlib import Path

import pytest

from mocker.supervisor.client.logs_command import logs
from tests.supervisor.client.fake_supervisor import answering, make_answer, make_lines, make_refusal

WEB = {"job": "web", "line": "hello", "time": "2026-11-22T08:29:12.000123Z"}
DB = {"job": "db-1", "line": "hi", "time": "2026-11-22T08:29:13.000123Z"}
ONE_JOB = make_answer({"jobs": [{"name": "web"}]})
TWO_JOBS = make_answer({"jobs": [{"name": "web"}, {"name": "db-1"}]})


@pytest.fixture(autouse=True)
def _known_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCKER_SOCKET", "demo")


def ask(tmp_path: Path, *words: str) -> str:
    """Return what `mocker logs` asks."""
    with answering(tmp_path, ONE_JOB, make_lines()) as asked:
        assert logs(words) == 0
    return asked[-1].decode().split()[1]


def refuse(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert logs(words) == 2
    return capfd.readouterr().err


def test_lines_of_one_job_have_no_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, ONE_JOB, make_lines(WEB, WEB)):
        status = logs(["web"])

    assert (status, *capfd.readouterr()) == (0, "hello\nhello\n", "")


@pytest.mark.parametrize("words", [[], ["all"], ["w*"], ["group"]])
def test_lines_of_one_job_have_its_name_where_there_may_be_others_soon(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with answering(tmp_path, ONE_JOB, make_lines(WEB)):
        logs(words)

    assert capfd.readouterr().out == "web | hello\n"


def test_lines_of_several_jobs_have_names(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, TWO_JOBS, make_lines(WEB, DB)):
        logs([])

    assert capfd.readouterr().out == "web  | hello\ndb-1 | hi\n"


def test_times_are_shown_when_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, ONE_JOB, make_lines(WEB)):
        logs(["-t", "web"])

    assert capfd.readouterr().out == "2026-11-22T08:29:12.000123Z hello\n"


def test_programs_get_what_the_supervisor_answers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = make_lines(WEB, {"job": "web", "dropped": 3})
    with answering(tmp_path, answer):
        logs(["--json"])

    assert capfd.readouterr().out.encode() == answer.partition(b"\r\n\r\n")[2]


def test_what_is_lost_is_told_where_it_would_be(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, ONE_JOB, make_lines(WEB, {"job": "web", "dropped": 3}, WEB)):
        status = logs(["web"])

    told = "mocker logs: web: 3 lines left out: they came faster than they were read\n"
    assert (status, *capfd.readouterr()) == (0, "hello\nhello\n", told)


@pytest.mark.parametrize(
    ("words", "query"),
    [
        ([], ""),
        (["web", "db-*"], "?job=web&job=db-%2A"),
        (["-f", "web"], "?job=web&follow=1"),
        (["-n", "10"], "?n=10"),
        (["-n5", "web"], "?job=web&n=5"),
        (["--tail=0"], "?n=0"),
        (["--tail", "all"], ""),
        (["--since", "10m"], "?since_s=600.000000"),
        (["--since", "500ms"], "?since_s=0.500000"),
    ],
)
def test_limits_are_asked_for(tmp_path: Path, words: list[str], query: str) -> None:
    assert ask(tmp_path, *words) == f"/v1/logs{query}"


@pytest.mark.parametrize("count", ["-1", "x", "", "1.5", "1" * 16, "²"])
def test_number_of_lines_must_be_one(capfd: pytest.CaptureFixture[str], count: str) -> None:
    text = refuse(capfd, f"--tail={count}")

    assert text == f"mocker logs: -n must be a number of lines or 'all', not {count!r}\n"


def test_time_must_be_one(capfd: pytest.CaptureFixture[str]) -> None:
    text = refuse(capfd, "--since", "yesterday")

    assert text.startswith("mocker logs: --since must be a duration such as '500ms'")


def test_jobs_are_truncated(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, make_answer({"jobs": ["web", "db-1"]})) as asked:
        status = logs(["--truncate", "all"])

    assert (status, capfd.readouterr().out) == (0, "web: truncated\ndb-1: truncated\n")
    assert asked[0].startswith(b"POST /v1/logs/truncate ")
    assert asked[0].endswith(b'{"jobs": ["all"]}')


def test_jobs_that_are_truncated_must_be_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert refuse(capfd, "--truncate") == "mocker logs: --truncate needs JOB...\n"


def test_unknown_job_makes_it_4(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path, make_refusal(404, "no-such-job", "there is no job 'x'")):
        status = logs(["x"])

    assert (status, capfd.readouterr().err) == (4, "mocker logs: there is no job 'x'\n")


def test_programs_are_refused_as_people_are(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, make_refusal(404, "no-such-job", "there is no job 'x'")):
        status = logs(["--json", "x"])

    assert (status, capfd.readouterr().err) == (4, "mocker logs: there is no job 'x'\n")


def test_supervisor_that_is_killed_makes_it_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, ONE_JOB, make_lines(WEB, WEB)[:-10]):
        status = logs(["-f", "web"])

    text = "mocker logs: the supervisor is gone\n"
    assert (status, *capfd.readouterr()) == (1, "hello\n", text)


def test_answer_that_no_supervisor_gives_makes_it_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path, ONE_JOB, make_answer(b"hello\n")):
        status = logs(["web"])

    assert status == 1
    assert capfd.readouterr().err.startswith("mocker logs: cannot understand what answers there")


@pytest.mark.parametrize("words", [["web"], ["--json"]])
def test_supervisor_that_is_busy_makes_it_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str]
) -> None:
    busy = make_lines({"error": {"code": "busy", "message": "too many others"}})
    with answering(tmp_path, *[ONE_JOB] * (words == ["web"]), busy):
        status = logs(words)

    assert (status, capfd.readouterr().err) == (1, "mocker logs: too many others\n")
