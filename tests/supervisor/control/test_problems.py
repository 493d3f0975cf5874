"""The one format of errors."""

import json
import re
from pathlib import Path
from typing import get_args

from mocker.supervisor.control import problems
from mocker.supervisor.control.problems import Code, RequestError


def test_code_and_message_are_told() -> None:
    error = RequestError("bad-request", 400, "there is no such thing")

    assert error.render() == {"error": {"code": "bad-request", "message": "there is no such thing"}}


def test_jobs_that_it_is_about_are_told() -> None:
    error = RequestError("needed", 409, "it is needed", ["web", "db"])

    assert error.render()["error"] == {
        "code": "needed",
        "message": "it is needed",
        "jobs": ["web", "db"],
    }


def test_each_code_is_used_and_there_is_no_other() -> None:
    itself = Path(problems.__file__)
    modules = [*itself.parent.glob("*.py"), *itself.parents[1].glob("*.py")]
    sources = [path.read_text() for path in modules if path != itself]
    called = re.compile(r'(?:(?:Request|Token)Error|__init__)\(\s*"([a-z-]+)"')
    rendered = re.compile(r'"code": ?"([a-z-]+)"')
    in_table = re.compile(r'\b4[0-9]{2}: "([a-z-]+)"')

    used = {
        code
        for source in sources
        for pattern in (called, rendered, in_table)
        for code in pattern.findall(source)
    }

    assert used == set(get_args(Code))


def test_whole_answer_says_how_long_it_is_and_that_it_is_the_last_one() -> None:
    error = RequestError("busy", 503, "so many others")

    head, _, body = error.render_answer().partition(b"\r\n\r\n")

    assert json.loads(body) == error.render()
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 503 busy",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b"Connection: close",
    ]
