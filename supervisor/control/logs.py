"""/v1/logs: the last lines of jobs, and those that come."""

import time
from collections.abc import Collection, Mapping
from functools import partial

import attrs
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..feeds import Follower
from ..jobs import Job
from ..supervise import Supervisor
from ..threads import run_in_thread
from .following import Pace, Recipient
from .history import render_history
from .job_names import ALL, find_jobs, means
from .line_stream import Put, TextStream
from .queries import check_query, take_count, take_flag, take_seconds
from .requests import check_keys, read_body, take_names

_KEYS = ("job", "n", "since_s", "follow")
_SECOND = 10**9  # nanoseconds


@attrs.frozen(kw_only=True)
class _Question:
    """What is asked for.

    Attributes:
        patterns: What jobs.
        count: How many of the last lines of each; None for all.
        since_ns: The oldest lines are from then.
        follows: Whether those that come are asked for as well.
    """

    patterns: Collection[str]
    count: int | None
    since_ns: int
    follows: bool


def answer_logs(request: Request, supervisor: Supervisor, pace: Pace) -> Response:
    """Return an answer of lines.

    Raises:
        RequestError: It cannot be meant, or there is no such job.
    """
    question = _read(request)
    connection = request.scope["connection"]
    find_jobs(supervisor.jobs, question.patterns)  # so that an error is told as one

    async def produce(put: Put) -> None:
        try:
            recipient = Recipient(pace, connection.stream.wait_room, put)
            await _tell_lines(supervisor, question, recipient)
        except trio.ClosedResourceError:
            pass  # it is gone

    return TextStream(produce)


async def truncate_logs(request: Request, supervisor: Supervisor) -> Response:
    """Forget the last lines of jobs, and answer of which.

    Raises:
        RequestError: It cannot be meant, or there is no such job.
    """
    values = await read_body(request)
    check_keys(values, ("jobs",))
    jobs = find_jobs(supervisor.jobs, take_names(values))
    for job in jobs:
        job.ring.clear()
    return JSONResponse({"jobs": [job.config.name for job in jobs]})


async def _tell_lines(supervisor: Supervisor, question: _Question, recipient: Recipient) -> None:
    follower = Follower(partial(_is_meant, supervisor.jobs, question.patterns))
    try:
        # At the same moment, so that no line is told twice and none is left out.
        names = [name for name in supervisor.jobs if follower.wants(name)]
        kept = [supervisor.jobs[name].ring.list_batches() for name in names]
        if question.follows:
            supervisor.feeds.add(follower, names)
        text = await run_in_thread(render_history, kept, question.count, question.since_ns)
        del kept
        await recipient.give(text)
        del text
        if question.follows:
            await recipient.follow(follower)
    finally:
        supervisor.feeds.remove(follower)


def _is_meant(jobs: Mapping[str, Job], patterns: Collection[str], name: str) -> bool:
    """Tell whether a job is asked for that may have been added since."""
    return name in jobs and any(means(each, name, jobs[name].config.group) for each in patterns)


def _read(request: Request) -> _Question:
    check_query(request, _KEYS)
    seconds = take_seconds(request, "since_s")
    return _Question(
        patterns=request.query_params.getlist("job") or [ALL],
        count=take_count(request, "n"),
        since_ns=0 if seconds is None else time.time_ns() - int(seconds * _SECOND),
        follows=take_flag(request, "follow"),
    )
