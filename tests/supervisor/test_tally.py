from mocker.supervisor.lines import Lines, Source
from mocker.supervisor.tally import Tally

WEB = Source("web", "stdout", 100, 1)
SECOND = 10**9
CHUNK = b"x" * 99 + b"\n"
MANY = 400_000  # of these chunks, which is more than is counted in a second
HALF = CHUNK * (MANY // 4)


def test_bytes_and_lines_are_counted() -> None:
    tally = Tally()

    tally.add(Lines(WEB, b"one\ntwo\n", (), 0))
    tally.add(Lines(WEB, b"three\n", (), 1))

    assert (tally.bytes, tally.lines) == (14, 3)


def test_piece_of_a_line_counts_without_the_newline_that_it_was_given() -> None:
    tally = Tally()

    tally.add(Lines(WEB, b"one\ntw\n", (1,), 0))
    tally.add(Lines(WEB, b"o\n", (), 1, continues=True))

    assert (tally.bytes, tally.lines) == (len("one\ntwo\n"), 2)


def test_lines_of_too_much_at_a_time_are_not_counted_but_those_that_come_later_are() -> None:
    tally = Tally()

    tally.add(Lines(WEB, CHUNK * MANY, (), 0))
    before = (tally.lines, tally.is_exact)
    tally.add(Lines(WEB, b"one\n", (), 10 * SECOND))

    assert before == (0, False)
    assert (tally.bytes, tally.lines, tally.is_exact) == (100 * MANY + 4, 1, False)


def test_first_lines_of_a_second_are_counted_whatever_comes_then() -> None:
    tally = Tally()

    tally.add(Lines(WEB, b"one\n", (), 0))
    for _ in range(4):
        tally.add(Lines(WEB, HALF, (), SECOND // 2))

    assert (tally.lines, tally.is_exact) == (1 + MANY // 4, False)


def test_lines_are_counted_where_as_much_comes_in_several_seconds() -> None:
    tally = Tally()

    for second in range(4):
        tally.add(Lines(WEB, HALF, (), second * SECOND))

    assert (tally.lines, tally.is_exact) == (MANY, True)


def test_clock_that_is_set_back_begins_another_second() -> None:
    tally = Tally()

    for second in reversed(range(4)):
        tally.add(Lines(WEB, HALF, (), second * SECOND))

    assert (tally.lines, tally.is_exact) == (MANY, True)
