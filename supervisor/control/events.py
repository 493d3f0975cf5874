"""/v1/events: how all jobs are, and then each change."""

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..changes import Changes, Watcher
from ..supervise import Supervisor
from .connections import Length
from .following import Pace, Recipient
from .line_stream import Put, TextStream
from .queries import check_query


async def answer_events(supervisor: Supervisor, pace: Pace, request: Request) -> Response:
    """Return an answer that goes on until the supervisor ends.

    Raises:
        RequestError: It cannot be meant.
    """
    check_query(request, ())
    return _EventStream(supervisor.changes, pace, request)


class _EventStream(TextStream):
    """The answer; until all of it is sent, it is followed."""

    def __init__(self, changes: Changes, pace: Pace, request: Request) -> None:
        super().__init__(self._tell, Length.ENDLESS)
        self._changes, self._pace, self._watcher = changes, pace, Watcher()
        self._wait_room = request.scope["connection"].stream.wait_room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._changes.remove(self._watcher)

    async def _tell(self, put: Put) -> None:
        self._changes.add(self._watcher)
        try:
            await Recipient(self._pace, self._wait_room, put).follow(self._watcher)
        except trio.ClosedResourceError:
            pass  # it is gone
