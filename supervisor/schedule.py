"""When a job on a schedule runs next, by the clock on the wall.

The five fields of a crontab, or six with the second first, or a word such as @daily. At a change of
daylight saving time they do what Debian's cron does: a job for a certain hour that the clock skips
runs when the skip is over, one for an hour that comes twice runs once, and what runs every few
minutes goes on doing that.

Source: crontab(5), and cron(8) of Debian, "Notes".
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = 5  # the last ones, from the minute on
_SECOND = timedelta(seconds=1)
_MAX_LENGTH = 200  # characters; a list of 60 minutes fits


class _LocalTime(tzinfo):
    """The time zone of this process: what TZ says, or else /etc/localtime, as libc reads them.

    A `datetime` without a zone is local time, changes included; one that `astimezone()` returned
    has the offset of one instant.
    """

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        if dt is None:
            return None
        # By way of the instant: for a time that the clock skips, astimezone() of Python 3.12 and
        # later has the offset after the change, and that of 3.11 the one before it, as zoneinfo.
        wall = dt.replace(tzinfo=None, microsecond=0)
        return wall.replace(tzinfo=UTC, fold=0) - datetime.fromtimestamp(wall.timestamp(), UTC)

    def dst(self, dt: datetime | None) -> timedelta | None:  # noqa: ARG002 - tzinfo asks so
        return None

    def tzname(self, dt: datetime | None) -> str | None:
        return None if dt is None else dt.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, dt: datetime) -> datetime:
        instant = dt.replace(tzinfo=UTC).timestamp()
        return datetime.fromtimestamp(instant).replace(tzinfo=self)


LOCAL = _LocalTime()


def next_time(expression: str, after: datetime, zone: tzinfo = LOCAL) -> datetime:
    """Return the first time that a schedule has after an instant.

    Args:
        expression: Of a crontab.
        after: With any time zone.
        zone: Whose clock is meant.

    Returns:
        The instant, in UTC, so that differences to other ones are right.

    Raises:
        ValueError: It is no such expression, or has no time in the next 50 years.
    """
    text = _WORDS.get(expression.strip().lower(), expression)
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"must have at most {_MAX_LENGTH} characters, not {len(text)}")
    try:
        for instant in _list_instants(text, after, zone):
            # An hour that comes twice is named by its first pass: in the second that is over.
            if instant > after:
                return instant
    except (CronSimError, AssertionError, ValueError, OverflowError) as error:
        reason = str(error).lower() or "unknown form"
        raise ValueError(
            f"must be a schedule such as '*/5 * * * *' or '@daily', not {expression!r}: {reason}"
        ) from None
    raise ValueError(f"must have a time in the next 50 years, not {expression!r}")


def _list_instants(expression: str, after: datetime, zone: tzinfo) -> Iterator[datetime]:
    """Yield the times of an expression, in UTC; the first ones may be over."""
    local = after.astimezone(zone)
    fields = expression.split()[-_FIELDS:]
    if any(field.startswith("*") for field in fields[:2]):  # it is for no certain hour
        for time in CronSim(expression, local):
            yield time.astimezone(UTC)
        return
    # What CronSim does about changes it does with five fields alone.
    for wall in CronSim(expression, local.replace(tzinfo=None)):
        instant = wall.replace(tzinfo=zone).astimezone(UTC)
        is_skipped = instant.astimezone(zone).replace(tzinfo=None) != wall
        yield _find_change(wall, zone) if is_skipped else instant


def _find_change(wall: datetime, zone: tzinfo) -> datetime:
    """Return when the clock is set forward over a time that it then does not show, in UTC."""
    # By the clock as it is after the change, that time is before it, and the other way round.
    before, after = (
        wall.replace(tzinfo=zone, fold=fold).astimezone(UTC).replace(microsecond=0)
        for fold in (1, 0)
    )
    offset = after.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


def check_schedule(expression: str) -> str:
    """Return a schedule, or raise ValueError if it is none; does not depend on today's date."""
    next_time(expression, datetime(2000, 1, 1, tzinfo=UTC), UTC)
    return expression
