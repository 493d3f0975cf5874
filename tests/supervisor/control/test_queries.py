import pytest
from starlette.requests import Request

from mocker.supervisor.control.problems import RequestError
from mocker.supervisor.control.queries import check_query, take_count, take_flag, take_seconds


def make_request(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


def test_values_are_taken() -> None:
    request = make_request("n=12&since_s=0.5&follow=1")

    taken = take_count(request, "n"), take_seconds(request, "since_s"), take_flag(request, "follow")

    assert taken == (12, 0.5, True)


def test_what_is_not_said_is_not_wanted() -> None:
    request = make_request("")

    taken = take_count(request, "n"), take_seconds(request, "since_s"), take_flag(request, "follow")

    assert taken == (None, None, False)


@pytest.mark.parametrize("text", ["-1", "1.5", "", "x", "%C2%B2", "1_0", "1" * 16, "+1"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="'n' is no whole number"):
        take_count(make_request(f"n={text}"), "n")


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "", "x", "1e999"])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="'since_s' is no number of seconds"):
        take_seconds(make_request(f"since_s={text}"), "since_s")


@pytest.mark.parametrize("text", ["2", "yes", ""])
def test_what_is_neither_yes_nor_no_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="'follow' is neither 1 nor 0"):
        take_flag(make_request(f"follow={text}"), "follow")


def test_unknown_key_is_refused() -> None:
    with pytest.raises(RequestError, match="unknown key 'tail'"):
        check_query(make_request("n=1&tail=2"), ("n",))


def test_known_keys_are_taken_in_any_number() -> None:
    check_query(make_request("job=1&job=2"), ("n", "job"))


def test_more_seconds_than_anybody_has_are_some_thirty_years() -> None:
    assert take_seconds(make_request("since_s=1e300"), "since_s") == 1e9
