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
