import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from mocker.supervisor.schedule import check_schedule, next_time

BERLIN = ZoneInfo("Europe/Berlin")  # 2026: forward at 2:00 on March 29, back at 3:00 on October 25


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def times(expression: str, after: str, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    """Return times as the clock on the wall shows them, with the offset."""
    found, instant = [], at(after)
    for _ in range(count):
        instant = next_time(expression, instant, zone)
        found.append(instant.astimezone(zone).strftime("%d %H:%M:%S %z"))
    return found


@pytest.fixture
def in_berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"  # the same rule, without a database
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("*/5 * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"),
        ("*/5 * * * *", "2026-01-01T00:04:59.999Z", "2026-01-01T00:05:00Z"),
        ("*/5 * * * *", "2026-01-01T00:05:00.001Z", "2026-01-01T00:10:00Z"),
        ("0 12 * * *", "2026-01-01T12:00:00Z", "2026-01-02T12:00:00Z"),
        ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 * * MON-FRI", "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z"),
        ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("*/2 * * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z"),
        ("@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
        ("@daily", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("@midnight", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
        ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ("@monthly", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
        ("@yearly", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        (" @Annually ", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
    ],
)
def test_next_time_is_later_and_fits(expression: str, after: str, expected: str) -> None:
    assert next_time(expression, at(after), UTC) == at(expected)


def test_hour_is_that_of_the_wall() -> None:
    assert times("0 12 * * *", "2026-01-01T00:00:00Z", 1) == ["01 12:00:00 +0100"]
    assert times("0 12 * * *", "2026-07-01T00:00:00Z", 1) == ["01 12:00:00 +0200"]


def test_instant_may_have_any_time_zone() -> None:
    after = at("2026-01-01T20:30:00+09:00")

    assert next_time("0 12 * * *", after, UTC) == at("2026-01-01T12:00:00Z")
    assert next_time("0 12 * * *", after, BERLIN) == at("2026-01-02T11:00:00Z")


def test_hour_that_is_skipped_is_made_up_for_once() -> None:
    found = times("30 2 * * *", "2026-03-28T00:00:00Z", 3)

    assert found == ["28 02:30:00 +0100", "29 03:00:00 +0200", "30 02:30:00 +0200"]


def test_several_times_of_a_skipped_hour_are_made_up_for_together() -> None:
    found = times("10,30 2 * * *", "2026-03-28T12:00:00Z", 2)

    assert found == ["29 03:00:00 +0200", "30 02:10:00 +0200"]


def test_hour_that_comes_twice_counts_once() -> None:
    found = times("30 2 * * *", "2026-10-24T12:00:00Z", 2)

    assert found == ["25 02:30:00 +0200", "26 02:30:00 +0100"]


def test_seconds_change_nothing_about_hours_that_are_skipped_or_come_twice() -> None:
    forward = times("5,40 30 2 * * *", "2026-03-28T12:00:00Z", 2)
    back = times("5,40 30 2 * * *", "2026-10-24T12:00:00Z", 3)

    assert forward == ["29 03:00:00 +0200", "30 02:30:05 +0200"]
    assert back == ["25 02:30:05 +0200", "25 02:30:40 +0200", "26 02:30:05 +0100"]


def test_day_that_is_skipped_is_made_up_for_when_the_next_one_begins() -> None:
    samoa = ZoneInfo("Pacific/Apia")  # which had no December 30 in 2011

    found = times("30 12 * * *", "2011-12-29T00:00:00Z", 3, samoa)

    assert found == ["29 12:30:00 -1000", "31 00:00:00 +1400", "31 12:30:00 +1400"]


def test_second_pass_of_an_hour_does_not_bring_back_the_first() -> None:
    found = times("30 2 * * *", "2026-10-25T01:15:00Z", 1)

    assert found == ["26 02:30:00 +0100"]


def test_every_few_minutes_goes_on_through_both_changes() -> None:
    forward = times("*/30 * * * *", "2026-03-29T00:15:00Z", 3)
    back = times("*/30 * * * *", "2026-10-25T00:15:00Z", 4)

    assert forward == ["29 01:30:00 +0100", "29 03:00:00 +0200", "29 03:30:00 +0200"]
    assert back == [
        "25 02:30:00 +0200",
        "25 02:00:00 +0100",
        "25 02:30:00 +0100",
        "25 03:00:00 +0100",
    ]


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"),
        ("2026-07-01T01:00:00Z", "2026-07-02T00:30:00Z"),
        ("2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
        ("2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
        ("2026-10-25T01:15:00Z", "2026-10-26T01:30:00Z"),
    ],
)
def test_time_zone_is_the_machines(after: str, expected: str) -> None:
    assert next_time("30 2 * * *", at(after)) == at(expected)


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize("expression", ["*/20 * * * *", "0 */3 * * *", "45 1,2,3 * * *"])
def test_machines_own_rules_are_those_of_the_database(expression: str) -> None:
    for day in ("2026-03-28", "2026-10-24"):
        local = ours = at(f"{day}T20:00:00Z")
        for _ in range(20):
            local, ours = next_time(expression, local), next_time(expression, ours, BERLIN)
            assert local == ours


def test_difference_to_the_next_time_is_what_passes() -> None:
    after = at("2026-03-28T12:00:00+01:00").astimezone(BERLIN)

    wait = next_time("0 12 * * *", after, BERLIN) - after

    assert wait.total_seconds() == 23 * 3600


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "*",
        "* * * *",
        "* * * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "-1 * * * *",
        "5-1 * * * *",
        "1,, * * * *",
        "a * * * *",
        "* * * FOO *",
        "* * * * MON#6",
        "* * * * ²L",
        "0 0 30 2 *",
        "@reboot",
        "@dayly",
        "9" * 190 + " * * * *",
    ],
)
def test_what_is_no_schedule_is_refused_with_an_example(expression: str) -> None:
    with pytest.raises(
        ValueError, match=r"must be a schedule such as '\*/5 \* \* \* \*' or '@daily'"
    ):
        check_schedule(expression)


def test_schedule_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="must have at most 200 characters, not 1006"):
        check_schedule("1," * 500 + " * * *")


def test_schedule_that_never_comes_is_refused() -> None:
    with pytest.raises(ValueError, match="must"):
        check_schedule("0 0 31 2,4,6,9,11 *")
