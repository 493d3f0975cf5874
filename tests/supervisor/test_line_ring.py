import sys
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.line_ring import LineRing, RingSpace
from mocker.supervisor.lines import Lines, Source

WEB = Source("web", "stdout", 12, 1)
ERRORS = Source("web", "stderr", 12, 1)
AGAIN = Source("web", "stdout", 13, 2)
SECOND = 10**9  # nanoseconds


def make_ring() -> LineRing:
    return RingSpace().make_ring()


def add(ring: LineRing, text: bytes, source: Source = WEB, time_ns: int = 0) -> None:
    ring.add(Lines(source, text, (), time_ns))


def list_lines(ring: LineRing) -> list[tuple[int, Source, bytes]]:
    """Return when each line came, where from, and what it says."""
    return [
        (lines.time_ns, lines.source, line)
        for kept in ring.list_batches()
        for lines in kept.split()
        for line in lines.split()
    ]


def test_last_lines_are_kept() -> None:
    ring = make_ring()

    add(ring, b"1\n2\n")
    add(ring, b"3\n4\n")

    assert ring.list_last(3) == [b"2", b"3", b"4"]
    assert ring.list_last() == [b"1", b"2", b"3", b"4"]


def test_of_many_lines_the_last_thousand_are_listed() -> None:
    ring = make_ring()

    add(ring, b"".join(b"%d\n" % number for number in range(5000)))

    assert ring.list_last() == [b"%d" % number for number in range(4000, 5000)]


def test_empty_lines_are_lines() -> None:
    ring = make_ring()

    add(ring, b"\n\n")

    assert ring.list_last(3) == [b"", b""]


def test_of_a_long_line_the_beginning_is_listed() -> None:
    ring = make_ring()

    add(ring, b"x" * 10_000 + b"\n")

    assert ring.list_last() == [b"x" * 1024 + "…".encode()]


def test_thousand_lines_of_a_kilobyte_are_kept() -> None:
    ring = make_ring()

    for number in range(5000):
        add(ring, b"%1023d\n" % number, time_ns=number * SECOND)

    assert ring.list_last() == [b"%1023d" % number for number in range(4000, 5000)]


def test_of_a_line_that_is_longer_than_the_ring_the_beginning_is_kept() -> None:
    ring = RingSpace(5000).make_ring()

    add(ring, b"one\n" + b"x" * 10_000 + b"\n")

    assert ring.list_last() == [b"x" * 1024 + "…".encode()]


def test_line_after_one_that_is_longer_than_the_ring_is_a_line_of_its_own() -> None:
    ring = RingSpace(5000).make_ring()

    add(ring, b"x" * 10_000 + b"\n")
    add(ring, b"one\n")

    assert ring.list_last() == [b"one"]


def test_end_of_a_big_chunk_begins_with_a_whole_line() -> None:
    ring = RingSpace(5000).make_ring()

    add(ring, b"0123456\n" * 1000 + b"end\n")

    lines = ring.list_last()
    assert lines == [b"0123456"] * (len(lines) - 1) + [b"end"]
    assert len(lines) == 1 + (5000 - 4) // 8


def test_nothing_is_listed_from_before_a_line_that_is_left_out() -> None:
    ring = RingSpace(5000).make_ring()

    add(ring, b"1\n", AGAIN)
    add(ring, b"2" * 10_000 + b"\n3\n")

    assert ring.list_last() == [b"3"]


def test_line_after_a_big_chunk_leaves_most_of_that() -> None:
    ring = RingSpace(5000).make_ring()
    add(ring, b"0123456\n" * 1000)

    for _ in range(100):
        add(ring, b"more\n", AGAIN)

    lines = ring.list_last()
    assert lines == [b"0123456"] * (len(lines) - 100) + [b"more"] * 100
    assert len(lines) == 100 + (5000 - 100 * 5) // 8


def test_channels_that_take_turns_leave_many_lines() -> None:
    ring = RingSpace(50_000).make_ring()

    for number in range(1000):
        add(ring, b"%d\n" % number, (WEB, ERRORS)[number % 2])

    lines = ring.list_last()
    assert lines == [b"%d" % number for number in range(1000 - len(lines), 1000)]
    assert len(lines) > 50


def test_lines_of_one_run_can_be_had_alone() -> None:
    ring = make_ring()

    add(ring, b"1\n")
    add(ring, b"2\n3\n", AGAIN)

    assert ring.list_last(20, AGAIN.pid) == [b"2", b"3"]
    assert ring.list_last(20, 99) == []


def test_lines_that_come_one_by_one_are_kept_together() -> None:
    ring = make_ring()

    for number in range(3000):
        add(ring, b"%d\n" % number, time_ns=number)

    assert ring.list_last() == [b"%d" % number for number in range(2000, 3000)]
    assert len(ring._batches) < 100


def test_line_is_listed_with_where_and_when_it_came_from() -> None:
    ring = make_ring()

    add(ring, b"0\n1\n", WEB, 3)
    add(ring, b"2\n", ERRORS, 4)
    add(ring, b"3\n", AGAIN, 5)

    assert list_lines(ring) == [
        (3, WEB, b"0"),
        (3, WEB, b"1"),
        (4, ERRORS, b"2"),
        (5, AGAIN, b"3"),
    ]


def test_lines_that_are_kept_together_are_listed_with_when_each_came() -> None:
    ring = make_ring()

    for time_ns in 1, SECOND, SECOND + 1, 3600 * SECOND:
        add(ring, b"x\n", time_ns=time_ns)

    assert [time_ns for time_ns, _, _ in list_lines(ring)] == [
        *(1, SECOND, SECOND + 1, 3600 * SECOND)
    ]
    assert len(ring._batches) == 1


def test_lines_are_listed_as_they_came_where_somebody_sets_the_clock_back() -> None:
    ring = make_ring()

    for time_ns in 5, 7, 6, 1:
        add(ring, b"%d\n" % time_ns, time_ns=time_ns)

    assert [(time_ns, line) for time_ns, _, line in list_lines(ring)] == [
        *((5, b"5"), (7, b"7"), (6, b"6"), (1, b"1"))
    ]


# Some lines of a source, of so many bytes each, after so many nanoseconds.
some_lines = st.tuples(
    st.sampled_from([WEB, ERRORS, AGAIN]),
    st.lists(st.sampled_from([0, 1, 10, 100, 1000, 30_000]), min_size=1, max_size=30),
    st.sampled_from([1, SECOND]),
)
other_jobs = st.integers(0, 15)


@given(steps=st.lists(st.tuples(other_jobs, some_lines), min_size=1))
def test_lines_that_are_kept_are_the_last_that_came(
    steps: list[tuple[int, tuple[Source, list[int], int]]],
) -> None:
    space = RingSpace(20_000)
    ring = space.make_ring()
    came: list[tuple[int, Source, bytes]] = []
    now = 0

    for others, (source, sizes, wait_ns) in steps:
        rings = [space.make_ring() for _ in range(others)]
        now += wait_ns
        texts = [b"%d" % (len(came) + index) + b"x" * size for index, size in enumerate(sizes)]
        add(ring, b"".join(text + b"\n" for text in texts), source, now)
        came += [(now, source, text) for text in texts]
        del rings

        kept = list_lines(ring)
        expected = came[-len(kept) :]
        assert kept
        assert [line[:2] for line in kept] == [line[:2] for line in expected]
        # Of a line that is longer than all there is room for, the beginning.
        assert [line[2][:1024] for line in kept[1:]] == [line[2][:1024] for line in expected[1:]]
        assert expected[0][2].startswith(kept[0][2])


@given(chunks=st.lists(st.lists(st.integers(0, 1000), min_size=1, max_size=10), min_size=1))
def test_no_line_is_let_go_that_fits(chunks: list[list[int]]) -> None:
    ring = RingSpace(5000).make_ring()
    came: list[bytes] = []

    for sizes in chunks:
        came += [b"x" * size for size in sizes]
        add(ring, b"".join(b"x" * size + b"\n" for size in sizes))

    kept = ring.list_last(len(came))
    assert kept == came[-len(kept) :]
    assert len(kept) == len(came) or sum(len(line) + 1 for line in came[-len(kept) - 1 :]) >= 5000


def test_memory_is_used_only_as_far_as_something_came() -> None:
    ring = make_ring()

    add(ring, b"1\n")
    add(ring, b"2\n", AGAIN)

    assert bytes(ring._memory or b"").rstrip(b"\0") == b"1\n2\n"


def test_lines_are_kept_when_the_share_changes() -> None:
    space = RingSpace(2**20)
    ring = space.make_ring()
    add(ring, b"1\n2\n", time_ns=1)
    add(ring, b"3\n", AGAIN, 2)
    before = list_lines(ring)

    others = [space.make_ring() for _ in range(100)]
    while_many = list_lines(ring)
    others.clear()
    others.append(space.make_ring())

    assert while_many == list_lines(ring) == before
    assert space.share == 2**19


def test_thousand_jobs_together_take_no_more_than_32_megabytes() -> None:
    space = RingSpace()
    rings = []
    for _ in range(1000):
        rings.append(space.make_ring())
        for number in range(40):
            add(rings[-1], b"x" * 9999 + b"\n", time_ns=number * SECOND)

    size = sum(len(ring._memory or b"") for ring in rings)
    size += sum(sys.getsizeof(batch) for ring in rings for batch in ring._batches)
    assert 10 * 2**20 < size < 32 * 2**20
    assert all(ring.list_last(1) for ring in rings)


def test_jobs_that_print_line_by_line_take_no_more_than_twice_their_share() -> None:
    space = RingSpace(2**20)
    rings = [space.make_ring() for _ in range(64)]
    tracemalloc.start()

    try:
        for number in range(2000):
            for ring in rings:
                add(ring, b"x\n", time_ns=number * SECOND)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size < 2**20


def test_ring_of_a_job_that_is_gone_leaves_its_room_to_others() -> None:
    space = RingSpace()
    for _ in range(5000):
        space.make_ring()

    ring = space.make_ring()

    assert space.share == 2**20
    del ring


def test_everything_is_listed_as_it_came() -> None:
    ring = make_ring()
    add(ring, b"1\n2\n", WEB, 1)
    add(ring, b"x" * 2000 + b"\n", WEB, 2)
    add(ring, b"3\n", ERRORS, 3)

    assert [lines for kept in ring.list_batches() for lines in kept.split()] == [
        Lines(WEB, b"1\n2\n", (), 1),
        Lines(WEB, b"x" * 2000 + b"\n", (), 2),
        Lines(ERRORS, b"3\n", (), 3),
    ]


def test_pieces_of_a_line_keep_their_marks() -> None:
    ring = make_ring()
    add(ring, b"1\n")
    ring.add(Lines(WEB, b"2\nbegin\n", (1,), 0))
    add(ring, b"end\n")

    found = [(kept.lines.text, kept.lines.partial) for kept in ring.list_batches()]

    assert found == [(b"1\n", ()), (b"2\nbegin\n", (1,)), (b"end\n", ())]


def test_pieces_keep_their_marks_when_others_before_them_are_gone() -> None:
    ring = RingSpace(2**12).make_ring()
    ring.add(Lines(WEB, b"x" * 2000 + b"\nbegin\nmiddle\n3\n", (0, 1, 2), 0))
    add(ring, b"y" * 3000 + b"\n")

    (first, _) = ring.list_batches()

    assert (first.lines.text, first.lines.partial) == (b"begin\nmiddle\n3\n", (0, 1))


def test_pieces_keep_their_marks_when_there_is_less_space() -> None:
    space = RingSpace(2**14)
    ring = space.make_ring()
    ring.add(Lines(WEB, b"2\nbegin\n", (1,), 0))

    other = space.make_ring()

    assert [kept.lines.partial for kept in ring.list_batches()] == [(1,)]
    del other


def test_nothing_is_left_of_a_ring_that_is_cleared() -> None:
    ring = make_ring()
    add(ring, b"1\n2\n")

    ring.clear()
    before = ring.list_last()
    add(ring, b"3\n")

    assert (before, ring.list_last()) == ([], [b"3"])
