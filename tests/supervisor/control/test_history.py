import json
from array import array
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.control.history import Shelf, choose_lines
from mocker.supervisor.kept_lines import REACH, KeptLines
from mocker.supervisor.lines import Lines, Source

WEB = Source("web", "stdout", 12, 1)
DB = Source("db", "stdout", 13, 1)


def make(text: bytes, time_ns: int = 0, source: Source = WEB) -> KeptLines:
    return KeptLines(Lines(source, text, (), time_ns))


def make_one_by_one(lines: Sequence[bytes], times_ns: Sequence[int]) -> KeptLines:
    """Return lines that came one by one and are kept in one piece."""
    later, begin = array("Q"), len(lines[0])
    for line, time_ns in zip(lines[1:], times_ns[1:], strict=True):
        later.append((time_ns - times_ns[0]) * REACH + begin)
        begin += len(line)
    return KeptLines(Lines(WEB, b"".join(lines), (), times_ns[0]), later)


def render_history(jobs: Sequence[Sequence[KeptLines]], count: int | None, since_ns: int) -> bytes:
    history, text = choose_lines(jobs, count, since_ns), b""
    while history.has_more:
        text += history.take()
    return text


def list_lines(text: bytes) -> list[str]:
    return [json.loads(line)["line"] for line in text.splitlines()]


def test_everything_is_shown_in_order() -> None:
    text = render_history([[make(b"1\n2\n"), make(b"3\n")]], None, 0)

    assert list_lines(text) == ["1", "2", "3"]


def test_lines_of_several_jobs_are_shown_in_the_order_of_time() -> None:
    web = [make(b"1\n", 1), make(b"4\n", 4)]
    db = [make(b"2\n", 2, DB), make(b"3\n", 3, DB)]

    assert list_lines(render_history([web, db], None, 0)) == ["1", "2", "3", "4"]


def test_lines_that_are_kept_in_one_piece_are_shown_when_they_came() -> None:
    web = [make_one_by_one([b"1\n", b"3\n", b"5\n"], [1000, 3000, 5000])]
    db = [make(b"2\n", 2000, DB), make(b"4\n", 4000, DB)]

    text = render_history([web, db], None, 0)

    times = [json.loads(line)["time"][-5:] for line in text.splitlines()]
    assert list_lines(text) == ["1", "2", "3", "4", "5"]
    assert times == ["0001Z", "0002Z", "0003Z", "0004Z", "0005Z"]


def test_clock_that_is_set_back_leaves_the_lines_of_a_job_in_order() -> None:
    web = [make(b"1\n", 9), make(b"2\n", 1)]

    assert list_lines(render_history([web], None, 0)) == ["1", "2"]


def test_last_lines_of_each_job_are_shown() -> None:
    web, db = [make(b"1\n2\n"), make(b"3\n")], [make(b"4\n5\n6\n", 1, DB)]

    assert list_lines(render_history([web, db], 2, 0)) == ["2", "3", "5", "6"]


@given(st.lists(st.integers(1, 5)), st.integers(0, 20))
def test_so_many_of_the_last_lines_are_shown(sizes: list[int], count: int) -> None:
    lines = [str(number) for number in range(sum(sizes))]
    batches, rest = list[KeptLines](), list(lines)
    for size in sizes:
        batches.append(make("".join(f"{line}\n" for line in rest[:size]).encode()))
        del rest[:size]

    shown = list_lines(render_history([batches], count, 0))

    assert shown == (lines[-count:] if count else [])


def test_lines_from_before_are_left_out() -> None:
    web = [make(b"1\n", 1), make(b"2\n", 2), make(b"3\n", 3)]

    assert list_lines(render_history([web], None, 2)) == ["2", "3"]


def test_of_lines_that_are_kept_in_one_piece_those_from_before_are_left_out() -> None:
    web = [make(b"0\n"), make_one_by_one([b"1\n", b"2\n", b"3\n"], [1, 2, 3])]

    shown = [list_lines(render_history([web], None, since_ns)) for since_ns in range(5)]

    assert shown == [["0", "1", "2", "3"], ["1", "2", "3"], ["2", "3"], ["3"], []]


def test_mark_of_a_piece_stays_with_it() -> None:
    web = [KeptLines(Lines(WEB, b"1\nbegin\n2\nend\n", (1, 3), 0))]

    text = render_history([web], 3, 0)

    marks = [json.loads(line).get("partial", False) for line in text.splitlines()]
    assert (list_lines(text), marks) == (["begin", "2", "end"], [True, False, True])


def test_nothing_is_nothing() -> None:
    assert render_history([[], []], None, 0) == b""


def test_much_is_taken_in_portions() -> None:
    history = choose_lines([[make(b"x" * 1000 + b"\n", number) for number in range(100)]], None, 0)

    assert len(history.take()) < 2**16 + 2000
    assert history.has_more


def test_many_that_came_one_by_one_are_taken_in_small_portions() -> None:
    history = choose_lines([[make(b"x\n", number) for number in range(1000)]], None, 0)

    assert len(list_lines(history.take())) < 200
    assert history.has_more


def test_shelf_has_an_end() -> None:
    shelf, web = Shelf(most=5), [[make(b"1\n"), make(b"2\n")]]

    with shelf.hold(web) as first:
        with shelf.hold(web) as second:
            pass
        with shelf.hold([]) as third:
            pass
    with shelf.hold(web) as fourth:
        pass

    assert (first, second, third, fourth) == (True, False, True, True)
