from array import array

from mocker.supervisor.kept_lines import REACH, KeptLines
from mocker.supervisor.lines import Lines, Source

WEB = Source("web", "stdout", 12, 1)


def make() -> KeptLines:
    """Return lines that came at 100, 110 and 120 nanoseconds, some of them together."""
    later = array("Q", [10 * REACH + 2, 20 * REACH + 7])
    return KeptLines(Lines(WEB, b"1\n22\n3\n4\n", (), 100), later)


def list_parts(kept: KeptLines) -> list[tuple[int, bytes]]:
    return [(lines.time_ns, lines.text) for lines in kept.split()]


def test_parts_are_as_they_came() -> None:
    assert list_parts(make()) == [(100, b"1\n"), (110, b"22\n3\n"), (120, b"4\n")]


def test_lines_that_came_at_once_are_one_part() -> None:
    kept = KeptLines(Lines(WEB, b"begin\nend\n", (0,), 100))

    assert list(kept.split()) == [kept.lines]


def test_parts_are_as_they_came_without_those_before() -> None:
    left = [list_parts(make().drop(size)) for size in (0, 2, 5, 7)]

    assert left == [
        [(100, b"1\n"), (110, b"22\n3\n"), (120, b"4\n")],
        [(110, b"22\n3\n"), (120, b"4\n")],
        [(110, b"3\n"), (120, b"4\n")],
        [(120, b"4\n")],
    ]


def test_pieces_of_a_line_keep_their_marks_without_those_before() -> None:
    kept = KeptLines(Lines(WEB, b"1\nbegin\nend\n", (0, 1), 100))

    assert kept.drop(2).lines == Lines(WEB, b"begin\nend\n", (0,), 100)


def test_bytes_from_before_a_time_are_counted() -> None:
    sizes = [make().count_before(since_ns) for since_ns in (0, 100, 101, 110, 111, 120, 121)]

    assert sizes == [0, 0, 2, 2, 7, 7, 9]
