import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.line_splitter import MARK, LineSplitter

MOST = 16_384
LONG_LINE = b"x" * MOST

chunks_of_lines = st.lists(st.text("a\né", min_size=1).map(str.encode))


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([b"one\n"], [b"one\n"]),
        ([b"one\ntwo\n"], [b"one\ntwo\n"]),
        ([b"one\ntw", b"o\n"], [b"one\n", b"two\n"]),
        ([b"on", b"e"], [b"", b""]),
        ([b"on", b"e", b"\n"], [b"", b"", b"one\n"]),
        ([b"\n", b"\n\n"], [b"\n", b"\n\n"]),
        ([b"\r\0\xff\n"], [b"\r\0\xff\n"]),
    ],
)
def test_lines_come_out_once_they_are_complete(chunks: list[bytes], expected: list[bytes]) -> None:
    splitter = LineSplitter()

    assert [splitter.feed(chunk) for chunk in chunks] == expected


@given(chunks_of_lines)
def test_nothing_is_lost_or_added(chunks: list[bytes]) -> None:
    splitter = LineSplitter()

    text = b"".join(splitter.feed(chunk) for chunk in chunks) + splitter.finish()

    assert text.removesuffix(b"\n") == b"".join(chunks).removesuffix(b"\n")


def test_longest_line_is_left_whole() -> None:
    assert LineSplitter().feed(LONG_LINE + b"\n") == LONG_LINE + b"\n"


def test_line_that_is_longer_is_cut_into_marked_pieces() -> None:
    text = LineSplitter().feed(LONG_LINE * 2 + b"end\n")

    assert text == (LONG_LINE + MARK + b"\n") * 2 + b"end\n"


def test_lines_around_a_long_one_are_left_whole() -> None:
    text = LineSplitter().feed(b"one\n" * 10_000 + LONG_LINE + b"x\n" + b"two\n" * 10_000)

    assert text == b"one\n" * 10_000 + LONG_LINE + MARK + b"\nx\n" + b"two\n" * 10_000


def test_line_without_end_comes_out_in_pieces_meanwhile() -> None:
    splitter = LineSplitter()

    pieces = [splitter.feed(b"x" * 1000) for _ in range(20)]

    assert [len(piece) for piece in pieces if piece] == [MOST + len(MARK) + 1]
    assert splitter.finish() == b"x" * (20_000 - MOST) + b"\n"


@pytest.mark.parametrize("character", ["é", "€", "😀"])
@pytest.mark.parametrize("offset", range(4))
def test_no_character_is_cut(character: str, offset: int) -> None:
    text = LineSplitter().feed(b"x" * offset + character.encode() * MOST + b"\n")

    pieces = [piece.decode() for piece in text.splitlines()]
    assert "".join(piece.removesuffix("…") for piece in pieces) == "x" * offset + character * MOST
    assert max(len(piece.encode()) for piece in pieces) <= MOST + len(MARK)


def test_bytes_that_are_no_text_are_cut_anywhere() -> None:
    text = LineSplitter().feed(b"\x80" * (MOST + 1) + b"\n")

    assert text == b"\x80" * MOST + MARK + b"\n\x80\n"


@given(st.lists(st.binary(min_size=1), min_size=1), st.integers(1, 40_000))
def test_all_bytes_come_out_in_pieces_that_are_short_enough(
    parts: list[bytes], repeats: int
) -> None:
    splitter = LineSplitter()
    chunks = [(part * repeats)[:100_000] for part in parts[:5]]

    text = b"".join(splitter.feed(chunk) for chunk in chunks) + splitter.finish()

    assert max(len(line) for line in text.split(b"\n")) <= MOST + len(MARK)
    # Without ends and marks, so that what the cuts add is left aside.
    added = MARK + b"\n"
    assert text.translate(None, added) == b"".join(chunks).translate(None, added)


def test_beginning_of_a_line_can_be_had_before_its_end() -> None:
    splitter = LineSplitter()
    splitter.feed(b"one\nName: ")

    assert splitter.is_inside_line
    assert splitter.cut() == b"Name: " + MARK + b"\n"
    assert not splitter.is_inside_line


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b"\n", b""),
        (b"\n\n", b"\n"),
        (b"\nnext\n", b"next\n"),
        (b"rest\n", b"rest\n"),
    ],
)
def test_end_of_a_line_that_is_out_already_adds_no_line(rest: bytes, expected: bytes) -> None:
    splitter = LineSplitter()
    splitter.feed(b"Name: ")
    splitter.cut()

    assert splitter.feed(rest) == expected
    assert splitter.feed(b"\n") == b"\n"


def test_between_two_lines_there_is_nothing_to_cut_and_nothing_to_finish() -> None:
    splitter = LineSplitter()
    splitter.feed(b"one\n")

    assert (splitter.cut(), splitter.finish()) == (b"", b"")
    assert splitter.feed(b"\n") == b"\n"
