"""The resources of those who follow jobs: what they print, and what becomes of them."""

from functools import partial

from starlette.routing import Route

from ..supervise import Supervisor
from .events import answer_events
from .following import Pace
from .history import Shelf
from .logs import answer_logs, truncate_logs


def make_log_routes(supervisor: Supervisor) -> list[Route]:
    """Return what is answered, all at one pace."""
    pace, shelf = Pace(), Shelf()
    return [
        Route("/v1/logs", partial(answer_logs, supervisor, pace, shelf)),
        Route("/v1/logs/truncate", partial(truncate_logs, supervisor), methods=["POST"]),
        Route("/v1/events", partial(answer_events, supervisor, pace)),
    ]
