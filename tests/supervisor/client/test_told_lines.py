import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.client.exchange import AnswerError, ProtocolError
from mocker.supervisor.client.told_lines import LineText, Told, escape_steering, parse_told
from mocker.supervisor.feeds import render_lines
from mocker.supervisor.lines import Lines, Source

WEB = Source("web", "stdout", 12, 1)
WHEN = 1_795_336_152_000_123_456


def show(
    text: bytes,
    partial: tuple[int, ...] = (),
    *,
    with_names: str = "",
    with_time: bool = False,
    is_terminal: bool = False,
) -> bytes:
    """Return what a supervisor tells of lines, as people see it."""
    told = parse_told(render_lines(Lines(WEB, text, partial, WHEN)))
    shown = LineText(
        with_names.split(),
        with_names=bool(with_names),
        with_time=with_time,
        is_terminal=is_terminal,
    )
    return shown.render(told)


def show_in_turn(*told: Told) -> bytes:
    """Return lines as people see them who expect those of one job."""
    shown = LineText(["web"], with_names=False, with_time=False, is_terminal=False)
    return b"".join(shown.render([each]) for each in told)


@given(st.lists(st.binary().map(lambda line: line.replace(b"\n", b"") + b"\n"), min_size=1))
def test_lines_are_as_they_were_printed(lines: list[bytes]) -> None:
    assert show(b"".join(lines)) == b"".join(lines)


def test_names_stand_in_a_column() -> None:
    assert show(b"one\n\n", with_names="db-12 web") == b"web   | one\nweb   | \n"


def test_times_stand_before_lines() -> None:
    assert show(b"one\n", with_time=True) == b"2026-11-22T08:29:12.000123Z one\n"


def test_names_stand_before_times() -> None:
    shown = show(b"one\n", with_names="web", with_time=True)

    assert shown == b"web | 2026-11-22T08:29:12.000123Z one\n"


def test_pieces_of_a_line_are_put_together_where_nothing_stands_before_them() -> None:
    assert show(b"begin\nend\n", (0,)) == b"beginend\n"


def test_pieces_of_a_line_are_marked_where_something_stands_before_them() -> None:
    shown = show(b"begin\nend\n", (0,), with_names="web")

    assert shown == "web | begin…\nweb | end\n".encode()


def test_names_are_shown_as_soon_as_there_is_a_second_job() -> None:
    web: Told = {"job": "web", "line": "one"}
    other: Told = {"job": "web-10", "line": "two"}

    assert show_in_turn(web, other, web) == b"one\nweb-10 | two\nweb    | one\n"


def test_name_of_a_second_job_begins_a_line() -> None:
    begin: Told = {"job": "web", "line": "b", "partial": True}
    end: Told = {"job": "web", "line": "e"}
    other: Told = {"job": "db", "line": "two"}

    assert show_in_turn(begin, other, end) == b"b\ndb  | two\nweb | e\n"
    assert show_in_turn(begin, end, other) == b"be\ndb  | two\n"


def test_terminal_shows_colours_and_is_reset_behind_them() -> None:
    assert show(b"\x1b[1;31mred\n", is_terminal=True) == b"\x1b[1;31mred\x1b[0m\n"


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b"\x1b[2Jgone", rb"\x1b[2Jgone"),
        (b"\x1b]0;title\x07", rb"\x1b]0;title\x07"),
        (b"a\rb", rb"a\rb"),
        (b"end\r", b"end"),
        (b"\xff", rb"\xff"),
        ("\u202e".encode(), rb"\u202e"),
        ("\x9b".encode(), rb"\x9b"),
        (b"a\tb", b"a\tb"),
        ("grün".encode(), "grün".encode()),
    ],
)
def test_terminal_is_not_steered(printed: bytes, shown: bytes) -> None:
    found = show(printed + b"\n", is_terminal=True).replace(b"\x1b[0m", b"")

    assert found == shown + b"\n"


@given(st.binary())
def test_whatever_is_printed_a_terminal_gets_no_escape_but_colours(printed: bytes) -> None:
    found = show(printed.replace(b"\n", b"") + b"\n", is_terminal=True).decode()

    assert found.count("\x1b") == found.count("\x1b[")
    assert not set(found) & set(map(chr, [*range(9), *range(11, 27), *range(0x7F, 0xA0)]))


def test_word_that_there_will_be_nothing_more_is_an_error() -> None:
    text = b'{"line":"1"}\n{"error":{"code":"busy","message":"too many"}}\n'

    with pytest.raises(AnswerError, match="too many") as error:
        parse_told(text)

    assert error.value.code == "busy"


@pytest.mark.parametrize("told", [{}, {"line": "\ud800"}, {"line": "", "job": "web"}])
def test_line_that_no_supervisor_tells_is_refused(told: dict[str, object]) -> None:
    shown = LineText([], with_names=True, with_time=True, is_terminal=False)

    with pytest.raises(ProtocolError):
        shown.render(parse_told(json.dumps(told).encode() + b"\n"))


def test_json_does_not_steer_a_terminal_and_stays_the_same_json() -> None:
    told = {"line": "a\x9b31m\u202eb\x7f é"}
    text = json.dumps(told, ensure_ascii=False).encode()

    safe = escape_steering(text)

    assert json.loads(safe) == told
    assert safe == rb'{"line": "a\u009b31m\u202eb\u007f ' + "é".encode() + b'"}'
