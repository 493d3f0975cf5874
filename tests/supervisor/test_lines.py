import pytest

from mocker.supervisor.lines import Lines, Source, count_newlines

WEB = Source("web", "stdout", 12, 1)


@pytest.mark.parametrize(
    ("text", "partial", "expected"),
    [
        (b"one\ntwo\n", (), b"one\ntwo\n"),
        (b"one\ntw\n", (1,), b"one\ntw"),
        (b"o\nne\ntw\n", (0, 2), b"one\ntw"),
        (b"a\rb\n\x0b\n", (1,), b"a\rb\n\x0b"),
        (b"\n\n", (), b"\n\n"),
    ],
)
def test_raw_lines_have_the_newlines_of_the_job_and_no_others(
    text: bytes, partial: tuple[int, ...], expected: bytes
) -> None:
    assert Lines(WEB, text, partial, 0).raw == expected


def test_pieces_are_divided_by_newlines_alone() -> None:
    lines = Lines(WEB, b"a\rb\x0bc\x85d\n\ne\n", (), 0)

    assert lines.split() == [b"a\rb\x0bc\x85d", b"", b"e"]


@pytest.mark.parametrize(
    ("text", "partial", "ended", "goes_on"),
    [
        (b"one\ntwo\n", (), 2, False),
        (b"one\ntw\n", (1,), 1, True),
        (b"o\nne\n", (0,), 1, False),
        (b"o\nn\n", (0, 1), 0, True),
    ],
)
def test_lines_end_with_the_newlines_of_the_job(
    text: bytes, partial: tuple[int, ...], ended: int, goes_on: bool
) -> None:
    lines = Lines(WEB, text, partial, 0)

    assert (lines.ended, lines.goes_on) == (ended, goes_on)


@pytest.mark.parametrize("text", [b"", b"\n", b"one", b"one\n\ntwo\r\n", b"\0\n" * 70_000])
def test_newlines_are_counted(text: bytes) -> None:
    assert count_newlines(text) == text.count(b"\n")
