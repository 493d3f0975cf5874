import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.line_splitter import LineSplitter, Pieces
from mocker.supervisor.lines import Lines, Source

MOST = 100
LONG_LINE = b"x" * MOST
NOTHING = Pieces(b"")

chunks_of_lines = st.lists(st.text("a\né", min_size=1).map(str.encode))


def feed(splitter: LineSplitter, chunk: bytes) -> Pieces:
    return splitter.feed(chunk, len(chunk))


def restore(pieces: list[Pieces]) -> bytes:
    """Return the bytes that came in."""
    source = Source("web", "stdout", 12, 1)
    return b"".join(Lines(source, p.text, p.partial, 0, p.continues).raw for p in pieces)


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
    splitter = LineSplitter(MOST)

    assert [feed(splitter, chunk) for chunk in chunks] == [Pieces(text) for text in expected]


@given(chunks_of_lines)
def test_nothing_is_lost_or_added(chunks: list[bytes]) -> None:
    splitter = LineSplitter(MOST)

    pieces = [*(feed(splitter, chunk) for chunk in chunks), splitter.cut()]

    assert restore(pieces) == b"".join(chunks)


def test_what_is_behind_the_chunk_or_comes_there_later_is_no_part_of_it() -> None:
    memory = bytearray(b"one\ntwo\nthree\n")
    splitter = LineSplitter(MOST)

    first = splitter.feed(memory, 6)
    memory[:] = b"x\n" * 7
    second = splitter.feed(memory, 2)

    assert (first, second) == (Pieces(b"one\n"), Pieces(b"twx\n"))


def test_longest_line_is_left_whole() -> None:
    assert feed(LineSplitter(MOST), LONG_LINE + b"\n") == Pieces(LONG_LINE + b"\n")


def test_line_that_is_longer_is_cut_into_pieces() -> None:
    pieces = feed(LineSplitter(MOST), LONG_LINE * 2 + b"end\n")

    assert pieces == Pieces((LONG_LINE + b"\n") * 2 + b"end\n", (0, 1))


def test_lines_around_a_long_one_are_left_whole() -> None:
    pieces = feed(LineSplitter(MOST), b"one\n" * 1000 + LONG_LINE + b"x\n" + b"two\n" * 1000)

    assert pieces.text == b"one\n" * 1000 + LONG_LINE + b"\nx\n" + b"two\n" * 1000
    assert pieces.partial == (1000,)


def test_line_without_end_comes_out_in_pieces_meanwhile() -> None:
    splitter = LineSplitter(MOST)

    pieces = [feed(splitter, b"x" * 30) for _ in range(7)]

    assert [p for p in pieces if p.text] == [
        Pieces(LONG_LINE + b"\n", (0,)),
        Pieces(LONG_LINE + b"\n", (0,), continues=True),
    ]
    assert splitter.cut() == Pieces(b"x" * 10 + b"\n", (0,), continues=True)


@pytest.mark.parametrize("character", ["é", "€", "😀"])
@pytest.mark.parametrize("offset", range(4))
def test_no_character_is_cut(character: str, offset: int) -> None:
    text = feed(LineSplitter(MOST), b"x" * offset + character.encode() * MOST + b"\n").text

    pieces = [piece.decode() for piece in text.splitlines()]
    assert "".join(pieces) == "x" * offset + character * MOST
    assert max(len(piece.encode()) for piece in pieces) <= MOST


def test_bytes_that_are_no_text_are_cut_anywhere() -> None:
    pieces = feed(LineSplitter(MOST), b"\x80" * (MOST + 1) + b"\n")

    assert pieces == Pieces(b"\x80" * MOST + b"\n\x80\n", (0,))


@given(st.lists(st.binary(min_size=1), min_size=1), st.integers(1, 400))
def test_all_bytes_come_out_in_pieces_that_are_short_enough(
    parts: list[bytes], repeats: int
) -> None:
    splitter = LineSplitter(MOST)
    chunks = [(part * repeats)[:1000] for part in parts[:5]]

    pieces = [*(feed(splitter, chunk) for chunk in chunks), splitter.cut()]

    assert max(len(line) for p in pieces for line in p.text.split(b"\n")) <= MOST
    assert restore(pieces) == b"".join(chunks)


@given(st.lists(st.text("a\n", min_size=1, max_size=9).map(str.encode)), st.booleans())
def test_what_continues_a_line_is_known(chunks: list[bytes], is_cut: bool) -> None:
    splitter = LineSplitter(4)
    pieces = []
    for chunk in chunks:
        pieces.append(feed(splitter, chunk))
        if is_cut:
            pieces.append(splitter.cut())

    out = [p for p in pieces if p.text]
    ends_open = [p.partial[-1:] == (p.text.count(b"\n") - 1,) for p in out]
    assert [p.continues for p in out] == [False, *ends_open][: len(out)]


def test_beginning_of_a_line_can_be_had_before_its_end() -> None:
    splitter = LineSplitter(MOST)
    feed(splitter, b"one\nName: ")

    assert splitter.is_inside_line
    assert splitter.cut() == Pieces(b"Name: \n", (0,))
    assert not splitter.is_inside_line


def test_rest_of_a_line_continues_it_even_if_that_is_only_its_end() -> None:
    splitter = LineSplitter(MOST)
    feed(splitter, b"Name: ")
    splitter.cut()

    assert feed(splitter, b"\n") == Pieces(b"\n", (), continues=True)
    assert feed(splitter, b"\n") == Pieces(b"\n")


def test_between_two_lines_there_is_nothing_to_cut() -> None:
    splitter = LineSplitter(MOST)
    feed(splitter, b"one\n")

    assert splitter.cut() == NOTHING
    assert feed(splitter, b"\n") == Pieces(b"\n")


@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_character_that_has_come_in_part_stays_whole_where_more_may_come(character: str) -> None:
    encoded = character.encode()
    for size in range(1, len(encoded)):
        splitter = LineSplitter(MOST)
        feed(splitter, encoded + encoded[:size])

        first = splitter.cut(goes_on=True)
        feed(splitter, encoded[size:])
        second = splitter.cut(goes_on=True)

        assert first == Pieces(encoded + b"\n", (0,))
        assert second == Pieces(encoded + b"\n", (0,), continues=True)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (b"na\xc3", [b"na\n", b"\xc3\n"]),
        (b"na\xff", [b"na\xff\n", b""]),
        (b"na\x80\x80\x80\x80", [b"na\x80\x80\x80\x80\n", b""]),
    ],
)
def test_bytes_of_no_character_come_out_sooner_or_later(text: bytes, pieces: list[bytes]) -> None:
    splitter = LineSplitter(MOST)
    feed(splitter, text)

    assert [splitter.cut(goes_on=True).text for _ in pieces] == pieces
