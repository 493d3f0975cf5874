"""/v1/logs: the last lines of jobs, and those that come."""

import time
from collections.abc import Sequence
from functools import partial

import attrs
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..feeds import Follower
from ..jobs import Job
from ..kept_lines import KeptLines
from ..supervise import Supervisor
from ..threads import run_in_thread
from .answers import Answer
from .connections import Length
from .following import Pace, Recipient
from .history import Shelf, choose_lines
from .job_names import ALL, find_jobs, is_meant
from .line_stream import Put, TextStream
from .queries import check_query, take_count, take_flag, take_seconds
from .requests import check_keys, read_body, take_names

_KEYS = ("job", "n", "since_s", "follow")
_BUSY = b'{"error":{"code":"busy","message":"too many others have asked and take nothing"}}\n'
_SECOND = 10**9  # nanoseconds


@attrs.frozen(kw_only=True)
class _Question:
    """What is asked for.

    Attributes:
        jobs: Of which.
        patterns: By what they were meant.
        count: How many of the last lines of each; None for all.
        since_ns: The oldest lines are from then.
        follows: Whether those that come are asked for as well.
    """

    jobs: Sequence[Job]
    patterns: frozenset[str]
    count: int | None
    since_ns: int
    follows: bool


async def answer_logs(
    supervisor: Supervisor, pace: Pace, shelf: Shelf, request: Request
) -> Response:
    """Return an answer of lines.

    Args:
        supervisor: Who is asked.
        pace: That of all who are given something.
        shelf: Where the last lines lie meanwhile.
        request: What is asked.

    Raises:
        RequestError: It cannot be meant, or there is no such job.
    """
    check_query(request, _KEYS)
    seconds = take_seconds(request, "since_s")
    patterns = request.query_params.getlist("job") or [ALL]
    question = _Question(
        jobs=find_jobs(supervisor.jobs, patterns),
        patterns=frozenset(patterns),
        count=take_count(request, "n"),
        since_ns=0 if seconds is None else time.time_ns() - int(seconds * _SECOND),
        follows=take_flag(request, "follow"),
    )
    return _LogStream(supervisor, pace, shelf, request, question)


class _LogStream(TextStream):
    """The answer; until all of it is sent, the jobs are followed."""

    def __init__(
        self,
        supervisor: Supervisor,
        pace: Pace,
        shelf: Shelf,
        request: Request,
        question: _Question,
    ) -> None:
        # Without an end to follow it still waits for who reads it, such as a pager.
        super().__init__(self._tell, Length.ENDLESS if question.follows else Length.LONG)
        self._feeds, self._pace, self._shelf = supervisor.feeds, pace, shelf
        self._question = question
        self._follower = Follower(partial(is_meant, supervisor.jobs, question.patterns))
        self._wait_room = request.scope["connection"].stream.wait_room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feeds.remove(self._follower)

    async def _tell(self, put: Put) -> None:
        recipient = Recipient(self._pace, self._wait_room, put)
        question = self._question
        try:
            if question.follows:
                self._feeds.add(self._follower)
            kept = [await self._look(job) for job in question.jobs]
            with self._shelf.hold(kept) as has_room:
                if not has_room:
                    await put(_BUSY)
                    return
                limits = question.count, question.since_ns
                history = await run_in_thread(choose_lines, kept, *limits)
                kept.clear()
                await recipient.give(history)
            if question.follows:
                await recipient.follow(self._follower)
        except trio.ClosedResourceError:
            pass  # it is gone

    async def _look(self, job: Job) -> list[KeptLines]:
        """Return what is kept of a job; what comes then is followed."""
        await trio.lowlevel.checkpoint()
        if self._question.follows:
            # At the same moment, so that no line is told twice and none is left out.
            self._follower.follow(self._feeds.open(job.config.name))
        return job.ring.list_batches()


async def truncate_logs(supervisor: Supervisor, request: Request) -> Response:
    """Forget the last lines of jobs, and answer of which.

    Raises:
        RequestError: It cannot be meant, or there is no such job.
    """
    values = await read_body(request)
    check_keys(values, ("jobs",))
    jobs = find_jobs(supervisor.jobs, take_names(values))
    for job in jobs:
        job.ring.clear()
    return Answer({"jobs": [job.config.name for job in jobs]})
