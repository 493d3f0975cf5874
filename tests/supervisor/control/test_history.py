import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.control.history import Shelf, choose_lines
from mocker.supervisor.lines import Lines, Source

WEB = Source("web", "stdout", 12, 1)
DB = Source("db", "stdout", 13, 1)


def make(text: bytes, time_ns: int = 0, source: Source = WEB) -> Lines:
    return Lines(source, text, (), time_ns)


def render_history(jobs: Sequence[Sequence[Lines]], count: int | None, since_ns: int) -> bytes:
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


def test_clock_that_is_set_back_leaves_the_lines_of_a_job_in_order() -> None:
    web = [make(b"1\n", 9), make(b"2\n", 1)]

    assert list_lines(render_history([web], None, 0)) == ["1", "2"]


def test_last_lines_of_each_job_are_shown() -> None:
    web, db = [make(b"1\n2\n"), make(b"3\n")], [make(b"4\n5\n6\n", 1, DB)]

    assert list_lines(render_history([web, db], 2, 0)) == ["2", "3", "5", "6"]


@given(st.lists(st.integers(1, 5)), st.integers(0, 20))
def test_so_many_of_the_last_lines_are_shown(sizes: list[int], count: int) -> None:
    lines = [str(number) for number in range(sum(sizes))]
    batches, rest = list[Lines](), list(lines)
    for size in sizes:
        batches.append(make("".join(f"{line}\n" for line in rest[:size]).encode()))
        del rest[:size]

    shown = list_lines(render_history([batches], count, 0))

    assert shown == (lines[-count:] if count else [])


def test_lines_from_before_are_left_out() -> None:
    web = [make(b"1\n", 1), make(b"2\n", 2), make(b"3\n", 3)]

    assert list_lines(render_history([web], None, 2)) == ["2", "3"]


def test_mark_of_a_piece_stays_with_it() -> None:
    web = [Lines(WEB, b"1\nbegin\n2\nend\n", (1, 3), 0)]

    text = render_history([web], 3, 0)

    marks = [json.loads(line).get("partial", False) for line in text.splitlines()]
    assert (list_lines(text), marks) == (["begin", "2", "end"], [True, False, True])


def test_nothing_is_nothing() -> None:
    assert render_history([[], []], None, 0) == b""


def test_much_is_taken_in_portions() -> None:
    history = choose_lines([[make(b"x" * 1000 + b"\n", number) for number in range(100)]], None, 0)

    assert len(history.take()) < 2**16 + 2000
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
