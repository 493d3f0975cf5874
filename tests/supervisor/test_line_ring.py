import sys

from mocker.supervisor.line_ring import LineRing, RingSpace
from mocker.supervisor.lines import Lines, Source

WEB = Source("web", "stdout", 12, 1)
AGAIN = Source("web", "stdout", 13, 2)


def make_ring() -> LineRing:
    return RingSpace().make_ring()


def add(ring: LineRing, text: bytes, source: Source = WEB, time_ns: int = 0) -> None:
    ring.add(Lines(source, text, (), time_ns))


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


def test_of_a_line_that_is_longer_than_the_ring_the_beginning_is_kept() -> None:
    ring = RingSpace(5000).make_ring()

    add(ring, b"one\n" + b"x" * 10_000 + b"\n")

    assert ring.list_last() == [b"x" * 1024 + "…".encode()]


def test_end_of_a_big_chunk_begins_with_a_whole_line() -> None:
    ring = RingSpace(5000).make_ring()

    add(ring, b"0123456\n" * 1000 + b"end\n")

    lines = ring.list_last()
    assert lines == [b"0123456"] * (len(lines) - 1) + [b"end"]
    assert 500 < len(lines) < 700


def test_line_after_a_big_chunk_leaves_most_of_that() -> None:
    ring = RingSpace(5000).make_ring()
    add(ring, b"0123456\n" * 1000)

    for _ in range(100):
        add(ring, b"more\n", AGAIN)

    lines = ring.list_last()
    assert lines == [b"0123456"] * (len(lines) - 100) + [b"more"] * 100
    assert 400 < len(lines) < 700


def test_channels_that_take_turns_leave_many_lines() -> None:
    ring = RingSpace(50_000).make_ring()
    other = Source("web", "stderr", 12, 1)

    for number in range(1000):
        add(ring, b"%d\n" % number, (WEB, other)[number % 2])

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
    assert len(ring._batches) < 10


def test_lines_of_another_time_keep_it() -> None:
    ring = make_ring()

    add(ring, b"1\n", time_ns=0)
    add(ring, b"2\n", time_ns=10**9)

    assert [batch.time_ns for batch in ring._batches] == [0, 10**9]


def test_thousand_jobs_together_take_no_more_than_32_megabytes() -> None:
    space = RingSpace()
    rings = []
    for _ in range(1000):
        rings.append(space.make_ring())
        for number in range(40):
            add(rings[-1], b"x" * 9999 + b"\n", time_ns=number * 10**9)

    size = sum(len(ring._memory or b"") for ring in rings)
    size += sum(sys.getsizeof(batch) for ring in rings for batch in ring._batches)
    assert 10 * 2**20 < size < 32 * 2**20
    assert all(ring.list_last(1) for ring in rings)


def test_ring_of_a_job_that_is_gone_leaves_its_room_to_others() -> None:
    space = RingSpace()
    for _ in range(5000):
        space.make_ring()

    ring = space.make_ring()

    assert space.share == 2**18
    del ring
