import os
from pathlib import Path

import pytest

from mocker.isolation.process_title import find_strings, overwrite_strings
from mocker.isolation.tape import perform
from tests.containers import in_container, run_captured, script
from tests.in_namespaces import run_in_child


def read_strings() -> tuple[bytes, bytes]:
    own = Path("/proc/self")
    return (own / "cmdline").read_bytes(), (own / "environ").read_bytes()


def test_command_line_is_found_where_it_is() -> None:
    start, end, env_end = find_strings()

    assert end - start == len(read_strings()[0])
    assert env_end > end


def test_title_takes_the_place_of_command_line_and_environment() -> None:
    place = find_strings()

    def act() -> tuple[bytes, bytes]:
        perform(overwrite_strings(place, "mocker-init"))
        return read_strings()

    cmdline, environ = run_in_child(act)

    assert cmdline.rstrip(b"\0") == b"mocker-init"
    assert environ.strip(b"\0") == b""


def test_title_that_is_too_long_is_cut() -> None:
    start, end, _ = place = find_strings()

    def act() -> tuple[bytes, bytes]:
        perform(overwrite_strings(place, "x" * 10_000))
        return read_strings()

    cmdline, environ = run_in_child(act)

    assert cmdline == b"x" * (end - start - 1) + b"\0"
    assert environ.strip(b"\0") == b""


def test_environment_of_the_process_itself_stays_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCKER_TEST", "kept")
    place = find_strings()

    def act() -> str:
        perform(overwrite_strings(place, "title"))
        return os.environ["MOCKER_TEST"]

    assert run_in_child(act) == "kept"


@in_container
def test_container_sees_nothing_of_the_callers_command_line() -> None:
    outcome = run_captured(script("tr -d '\\0' </proc/1/cmdline; cat /proc/1/comm"))

    assert outcome.stdout == "mocker-initmocker-init\n"
