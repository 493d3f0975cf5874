"""The one format of errors."""

from mocker.supervisor.control.problems import RequestError


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
