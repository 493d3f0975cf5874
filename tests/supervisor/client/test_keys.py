import pytest

from mocker.supervisor.client.keys import parse_keys


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"", []),
        (b"qR/", ["q", "R", "/"]),
        (b"\x1b[A\x1bOB\x1b[5~\x1b[6~", ["up", "down", "page up", "page down"]),
        (b"\x1b[H\x1bOH\x1b[1~\x1b[F\x1bOF\x1b[4~", ["home"] * 3 + ["end"] * 3),
        (b"\x1b", ["escape"]),
        (b"\r\n\x7f\x08", ["enter", "enter", "backspace", "backspace"]),
        (b"\x03\x1a", ["ctrl-c", "ctrl-z"]),
        ("ü漢".encode(), ["ü", "漢"]),
    ],
)
def test_key_has_a_name_or_is_its_character(data: bytes, keys: list[str]) -> None:
    assert list(parse_keys(data)) == keys


@pytest.mark.parametrize("data", [b"\x1b[15~", b"\x1b[1;5C", b"\x01", b"\xff\xfe", b"\x00"])
def test_unknown_key_is_left_out(data: bytes) -> None:
    assert list(parse_keys(data)) == []
