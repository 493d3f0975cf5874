"""What came of other numbers of replicas, job by job."""

from collections.abc import Mapping, Sequence

import trio

from ..jobs import Job
from ..lifecycle import State
from ..reload import Difference
from ..scaling import ScaleError
from ..supervise import Supervisor
from .actions import Outcome, TellOutcome, describe_start, wait_started
from .problems import RequestError
from .requests import take

_MOST = 10_000  # as in a file


def take_counts(values: Mapping[str, object]) -> dict[str, int]:
    """Return the numbers of replicas, by entry, that a body has.

    Raises:
        RequestError: There are none, or there cannot be so many.
    """
    counts = take(values, "jobs", dict, {})
    for group, count in counts.items():
        # To JSON, 3.0 is as whole a number as 3.
        is_whole = isinstance(count, int | float) and not isinstance(count, bool) and count % 1 == 0
        if not is_whole or not 1 <= count <= _MOST:
            text = f"{group!r} must have 1 to {_MOST} replicas; stop them to have none that run"
            raise RequestError("bad-request", 400, text)
    if not counts:
        raise RequestError("bad-request", 400, "'jobs' has no numbers of replicas")
    return {group: int(count) for group, count in counts.items()}


async def scale(supervisor: Supervisor, counts: Mapping[str, int]) -> Difference:
    """Have so many replicas; return what that has changed.

    Raises:
        RequestError: It cannot be so.
    """
    try:
        return await supervisor.scale(counts)
    except ScaleError as error:
        if error.is_unknown:
            raise RequestError("no-such-job", 404, str(error), error.jobs) from error
        raise RequestError("cannot-scale", 409, str(error), error.jobs) from error


async def follow(difference: Difference, added: Sequence[Job], tell: TellOutcome) -> None:
    """Tell what came of each job, as soon as it is known."""

    async def follow_one(job: Job) -> None:
        await tell(await _wait_started(job))

    for name in difference.removed:
        await tell(Outcome(name, "removed"))
    async with trio.open_nursery() as nursery:
        for job in added:
            nursery.start_soon(follow_one, job)


async def _wait_started(job: Job) -> Outcome:
    await wait_started(job)
    if job.life.state is State.STOPPED and not job.life.skipped:
        return Outcome(job.config.name, "added")  # the clock starts it, or somebody has stopped it
    return describe_start(job, "started")
