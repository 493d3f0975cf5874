"""What is understood of a message of who executes something, and what is refused."""

import json
from importlib.metadata import version

import pytest

from mocker.supervisor.control.exec_requests import (
    parse_attach,
    parse_request,
    parse_signal,
    parse_size,
    render_message,
    render_problem,
    render_start,
)
from mocker.supervisor.control.problems import RequestError


def test_request_has_what_it_says_and_defaults() -> None:
    request = parse_request(b'{"job": "web", "argv": ["true"]}')

    assert (request.job, request.argv, request.env) == ("web", ("true",), {})
    assert (request.user, request.workdir, request.terminal) == (None, None, False)


def test_bytes_that_are_no_text_stay_what_they_are() -> None:
    message = render_message({"job": "web", "argv": ["\udcff", "\N{SNOWMAN}"]})

    assert b"\xff" in message
    assert parse_request(message).argv == ("\udcff", "\N{SNOWMAN}")


@pytest.mark.parametrize(
    "change",
    [
        {"job": None},
        {"argv": "true"},
        {"argv": []},
        {"argv": [1]},
        {"env": []},
        {"env": {"A": None}},
        {"user": 0},
        {"workdir": ["/"]},
        {"terminal": "yes"},
        {"unknown": 1},
        {"job": "\ud800"},
        {"argv": ["true", "\ud800"]},
        {"env": {"A": "\ud800"}},
        {"user": "\ud800"},
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict[str, object]) -> None:
    values = {"job": "web", "argv": ["true"], **change}

    with pytest.raises(RequestError) as refusal:
        parse_request(json.dumps(values).encode())

    assert refusal.value.code == "bad-request"


@pytest.mark.parametrize("message", [b"", b"{", b"[]", b"1", b"\xff", b"[" * 50_000])
def test_what_is_no_object_is_refused(message: bytes) -> None:
    with pytest.raises(RequestError, match="the message is no JSON"):
        parse_request(message)


def test_signal_is_a_number() -> None:
    assert parse_signal(b'{"signal": 15}') == 15


@pytest.mark.parametrize("value", ["15", True, 0, -1, 65, 10**30, 1.5, None])
def test_other_signals_are_refused(value: object) -> None:
    with pytest.raises(RequestError, match="'signal' is no number of a signal"):
        parse_signal(json.dumps({"signal": value}).encode())


def test_who_wants_to_attach_names_a_job() -> None:
    assert parse_attach(b'{"attach": "web"}') == "web"


@pytest.mark.parametrize("values", [{"job": "web"}, {"attach": 1}, {"attach": "web", "x": 1}])
def test_who_wants_something_else_does_not_attach(values: object) -> None:
    assert parse_attach(json.dumps(values).encode()) is None


def test_size_has_rows_and_columns() -> None:
    assert parse_size(b'{"size": [24, 80]}') == (24, 80)


@pytest.mark.parametrize("value", [None, [], [24], [24, 0], [-1, 80], [24, 2**16], ["24", "80"]])
def test_other_sizes_are_refused(value: object) -> None:
    with pytest.raises(RequestError, match="'size' is no number of rows and one of columns"):
        parse_size(json.dumps({"size": value}).encode())


def test_problem_has_the_form_of_all_errors_and_an_exit_status() -> None:
    error = RequestError("no-such-job", 404, "there is no job 'x'", ["x"])

    answer = json.loads(render_problem(error, 125))

    assert answer == {**error.render(), "exit_code": 125, "version": version("mocker-supervise")}


def test_start_tells_the_version() -> None:
    start = json.loads(render_start(5))

    assert start == {"started": 5, "version": version("mocker-supervise")}


def test_message_can_tell_of_what_is_no_text() -> None:
    problem = RequestError("no-such-job", 404, "there is no job", ["\ud800"])

    assert json.loads(render_problem(problem, 1))["error"]["jobs"] == ["\ud800"]
