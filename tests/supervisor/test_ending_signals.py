from signal import SIGINT, SIGTERM

from mocker.supervisor.ending_signals import EndingSignals


def test_same_signal_in_quick_succession_is_one() -> None:
    ends = EndingSignals()

    taken = [ends.take(SIGTERM, now) for now in (5.0, 5.05, 5.09)]

    assert (taken, ends.count) == ([True, False, False], 1)


def test_signals_count_that_differ_or_come_later() -> None:
    ends = EndingSignals()

    taken = [ends.take(*each) for each in ((SIGTERM, 0.0), (SIGINT, 0.0), (SIGINT, 0.2))]

    assert (taken, ends.count) == ([True, True, True], 3)


def test_none_has_come_at_first() -> None:
    assert EndingSignals().count == 0
