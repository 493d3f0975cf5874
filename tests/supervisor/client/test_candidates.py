import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.client.candidates import find_candidates, list_commands
from tests.supervisor.client.fake_supervisor import answering, make_answer

USAGE = """\
usage: mocker run [OPTIONS] COMMAND [ARG...]   run a command
       mocker ps [JOB...]                      show the jobs
       mocker start|stop JOB...                do that
       mocker check-host                       tell
       mocker --version

`mocker run --help` lists the options.
"""
OPTIONS = """
options:
  -f, --for ready|stopped   what they are to be
  --file FILE               a file
  -n, --no-wait             do not wait
  -s, --supervisor NAME|SOCKET
                            ask this one, or -x as --well
"""
HELP = {
    "": USAGE,
    "wait": f"usage: mocker wait [OPTIONS] JOB...\n{OPTIONS}",
    "signal": f"usage: mocker signal [OPTIONS] SIGNAL JOB...\n{OPTIONS}",
    "run": "usage: mocker run [OPTIONS] COMMAND [ARG...]\n",
    "shutdown": "usage: mocker shutdown [OPTIONS]\n",
    "completion": "usage: mocker completion bash|zsh|fish\n",
}
JOBS = make_answer(
    {"jobs": [{"name": name, "group": name.split("-")[0]} for name in ("web-1", "web-2", "db")]}
)
NAMES = ["web-1", "web-2", "db", "web", "all"]


def find(*line: str) -> list[str] | None:
    return find_candidates(line, lambda command: HELP.get(command, ""))


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ([""], ["run", "ps", "start", "stop", "check-host", "--help", "--version"]),
        (["st"], ["start", "stop"]),
        (["--v"], ["--version"]),
        (["x"], []),
        (["wait", "-"], ["-f", "--for", "--file", "-n", "--no-wait", "-s", "--supervisor"]),
        (["wait", "web", "--f"], ["--for", "--file"]),
        (["wait", "--for", ""], ["ready", "stopped"]),
        (["wait", "--for", "s"], ["stopped"]),
        (["wait", "--for", "=", "s"], ["stopped"]),
        (["wait", "--for", "="], ["ready", "stopped"]),
        (["wait", "--for=s"], ["--for=stopped"]),
        (["wait", "--for="], ["--for=ready", "--for=stopped"]),
        (["wait", "--file", ""], None),
        (["wait", "--file=x"], None),
        (["wait", "-s", ""], None),
        (["signal", "T"], ["TERM"]),
        (["signal", "-n", "U"], ["USR1", "USR2"]),
        (["signal", "--for", "ready", "H"], ["HUP"]),
        (["run", ""], None),
        (["run", "true", ""], None),
        (["shutdown", ""], []),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["completion", "bash", ""], []),
        (["nosuch", ""], []),
        (["wait", ""], []),
    ],
    ids=lambda value: " ".join(value or ["-"]),
)
def test_candidates_are_what_may_stand_there(line: list[str], candidates: list[str] | None) -> None:
    assert find(*line) == candidates


@pytest.mark.parametrize(
    "line", [["wait", ""], ["wait", "db", ""], ["wait", "-n", ""], ["signal", "HUP", ""]], ids=str
)
def test_jobs_are_those_that_there_are(tmp_path: Path, line: list[str]) -> None:
    with answering(tmp_path, JOBS):
        assert find(*line) == NAMES


def test_job_that_is_begun_is_completed(tmp_path: Path) -> None:
    with answering(tmp_path, JOBS):
        assert find("wait", "we") == ["web-1", "web-2", "web"]


@pytest.mark.parametrize("which", [["-s", "two"], ["--supervisor", "two"], ["--supervisor=two"]])
def test_jobs_are_those_of_the_supervisor_that_is_meant(tmp_path: Path, which: list[str]) -> None:
    other = make_answer({"jobs": [{"name": "other", "group": "other"}]})

    with answering(tmp_path, name="one"), answering(tmp_path, other, name="two"):
        assert find("wait", *which, "") == ["other", "all"]


def test_supervisors_are_those_that_there_are(tmp_path: Path) -> None:
    with answering(tmp_path, name="one"), answering(tmp_path, name="two"):
        assert find("wait", "-s", "") == ["one", "two"]


@pytest.mark.parametrize("answer", [b"", b"hello", make_answer({}), make_answer({}, 500)])
def test_supervisor_that_talks_nonsense_has_no_jobs(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, answer):
        assert find("wait", "") == []


def test_name_that_a_shell_might_carry_out_is_left_out(tmp_path: Path) -> None:
    names = ["$(reboot)", "a b", "a;b", "`x`", "\033[H", "good"]
    answer = make_answer({"jobs": [{"name": name, "group": name} for name in names]})

    with answering(tmp_path, answer):
        assert find("wait", "") == ["good", "all"]


@given(
    st.lists(st.sampled_from(["wait", "run", "--for", "=", "-", "--", "-s", "", "x"]), min_size=1)
)
def test_whatever_is_typed_has_candidates_or_none(line: list[str]) -> None:
    found = find_candidates(line, lambda name: HELP.get(name, ""), {"XDG_RUNTIME_DIR": os.devnull})

    assert found is None or all(word.isprintable() for word in found)


def test_commands_are_those_of_the_usage() -> None:
    assert list_commands(USAGE) == ["run", "ps", "start", "stop", "check-host"]
