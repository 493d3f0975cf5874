"""/v1/events: how all jobs are, and then each change."""

import trio
from starlette.requests import Request
from starlette.responses import Response

from ..changes import Changes, Watcher
from .following import Pace, Recipient
from .line_stream import Put, TextStream
from .queries import check_query


def answer_events(request: Request, changes: Changes, pace: Pace) -> Response:
    """Return an answer that goes on until the supervisor ends.

    Raises:
        RequestError: It cannot be meant.
    """
    check_query(request, ())
    connection = request.scope["connection"]

    async def produce(put: Put) -> None:
        watcher = Watcher()
        changes.add(watcher)
        try:
            await Recipient(pace, connection.stream.wait_room, put).follow(watcher)
        except trio.ClosedResourceError:
            pass  # it is gone
        finally:
            changes.remove(watcher)

    return TextStream(produce)
