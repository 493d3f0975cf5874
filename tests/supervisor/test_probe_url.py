import pytest

from mocker.supervisor.probe_url import HttpTarget, parse_url


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (
            "http://127.0.0.1:8080/a/b?c=d",
            HttpTarget(("127.0.0.1",), 8080, "127.0.0.1:8080", "/a/b?c=d"),
        ),
        ("http://10.0.0.7", HttpTarget(("10.0.0.7",), 80, "10.0.0.7", "/")),
        ("http://[::1]:1?x", HttpTarget(("::1",), 1, "[::1]:1", "/?x")),
        ("http://127.0.0.1/a#b", HttpTarget(("127.0.0.1",), 80, "127.0.0.1", "/a")),
        ("HTTP://LocalHost/", HttpTarget(("127.0.0.1", "::1"), 80, "LocalHost", "/")),
    ],
)
def test_url_is_understood(text: str, target: HttpTarget) -> None:
    assert parse_url(text) == target


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("http://", ""),
        ("ftp://127.0.0.1/", ""),
        ("http://127.0.0.1:0/", ""),
        ("http://127.0.0.1:99999/", ""),
        ("http://127.0.0.1/a b", ""),
        ("http://127.0.0.1/\r\nX: y", ""),
        ("http://[::1/", ""),
        ("https://127.0.0.1/", "TLS is not spoken"),
        ("http://me:secret@127.0.0.1/", "no user name is sent"),
        (
            "http://db/",
            "no name is looked up, and 'db' is neither an address nor localhost",
        ),
        (
            "http://127.1/",
            "no name is looked up, and '127.1' is neither an address nor localhost",
        ),
        (
            "http://[fe80::1%25eth0]/",
            "no name is looked up, and 'fe80::1%25eth0' is neither an address nor localhost",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse_url(text)

    assert str(caught.value) == reason
