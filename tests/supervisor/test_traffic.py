import pytest

from mocker.supervisor.traffic import Traffic


@pytest.mark.parametrize(
    ("sinks", "share", "most_read"),
    [
        (0, 2**20, 2**18),
        (1, 2**20, 2**18),
        (16, 2**20, 2**18),
        (128, 2**17, 2**16),
        (256, 2**15, 2**14),
        (1024, 2**13, 2**12),
        (10_000, 2**12, 2**12),
    ],
)
def test_the_more_sinks_there_are_the_less_has_each(sinks: int, share: int, most_read: int) -> None:
    traffic = Traffic()
    traffic.sinks = sinks

    assert (traffic.share, traffic.most_read) == (share, most_read)


def test_the_more_pipes_have_grown_the_less_has_the_next_one() -> None:
    traffic = Traffic()

    sizes = [traffic.lend() for _ in range(1000)]

    assert sizes[:16] == [2**20] * 16
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[40] == 2**18


def test_pipes_together_have_no_more_than_half_of_what_a_user_may_have() -> None:
    traffic = Traffic()

    together = sum(traffic.lend() for _ in range(10_000))

    assert 2**24 < together <= 2**25


def test_what_a_pipe_had_can_be_had_by_another_one() -> None:
    traffic = Traffic()
    sizes = [traffic.lend() for _ in range(1000)]

    for size in sizes:
        traffic.give_back(size)

    assert [traffic.lend() for _ in range(1000)] == sizes
