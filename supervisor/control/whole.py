"""The resources of the supervisor as a whole: its file, its end, and what is to be known of it."""

from collections.abc import Mapping, Sequence
from functools import partial

import attrs
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..config import JobConfig
from ..errors import ConfigError
from ..job_table import render_job
from ..supervise import Supervisor
from ..threads import run_in_thread
from ..turns import NoTurnError, TooManyTurnsError
from . import scaled_jobs
from .actions import Follow
from .answers import Answer
from .connections import Length
from .description import read_description
from .figures import Figures
from .job_names import find_jobs
from .line_stream import OutcomeStream
from .metrics import CONTENT_TYPE, render_metrics
from .peers import Remote
from .problems import RequestError
from .requests import check_keys, read_body


class RejectedError(RequestError):
    """The file has mistakes.

    Attributes:
        mistakes: What they are; none for who may not see all of the file, which they quote.
    """

    def __init__(self, error: ConfigError | OSError, *, may_see: bool) -> None:
        found = error.mistakes if isinstance(error, ConfigError) else (str(error),)
        noun = "mistake" if len(found) == 1 else "mistakes"
        text = f"the file has {len(found)} {noun}; nothing is changed"
        text += "" if may_see else "; only the supervisor's owner and root may see what they are"
        super().__init__("config-rejected", 422, text)
        self.mistakes = found if may_see else ()

    def render(self) -> dict[str, object]:
        """Return the body of the answer."""
        return {"error": {"code": self.code, "message": str(self), "mistakes": list(self.mistakes)}}


class WholeResources:
    """What is answered for one supervisor."""

    def __init__(self, supervisor: Supervisor, figures: Figures) -> None:
        self._supervisor, self._figures = supervisor, figures

    def make_routes(self) -> list[Route]:
        """Return where it is answered."""
        return [
            Route("/metrics", self.tell_metrics),
            Route("/v1/openapi.json", self.describe),
            Route("/v1/jobs/{name:path}/config", self.tell_config),
            Route("/v1/reload", self.reload, methods=["GET", "POST"]),
            Route("/v1/scale", self.scale, methods=["POST"]),
            Route("/v1/shutdown", self.shut_down, methods=["POST"]),
        ]

    async def tell_metrics(self, _: Request) -> Response:
        """Answer the figures of all jobs, for Prometheus."""
        seen = await self._figures.look()
        text = render_metrics(self._supervisor, trio.current_time(), seen)
        return Response(text.encode(errors="replace"), media_type=CONTENT_TYPE)

    async def describe(self, _: Request) -> Response:
        """Answer what all the resources are, in the words of OpenAPI."""
        return Answer(await run_in_thread(read_description))

    async def tell_config(self, request: Request) -> Response:
        """Answer what jobs are like, as a file would say it."""
        jobs = find_jobs(self._supervisor.jobs, [request.path_params["name"]])
        # In a thread, for there may be thousands.
        return await run_in_thread(_answer_configs, [job.config for job in jobs])

    async def reload(self, request: Request) -> Response:
        """Follow what has changed in the file, and answer that; to GET, only answer it."""
        is_dry = request.method != "POST"
        check_keys(request.query_params if is_dry else await read_body(request), ())
        supervisor, connection = self._supervisor, request.scope["connection"]
        try:
            with connection.lasting(Length.LONG):  # its disk may hang
                difference = await (supervisor.plan_reload() if is_dry else supervisor.reload())
        except (ConfigError, OSError) as error:
            peer = connection.peer
            may_see = isinstance(peer, Remote) or peer.may_do_all
            raise RejectedError(error, may_see=may_see) from error
        except NoTurnError as error:
            raise _make_refusal(error) from error
        answer = attrs.asdict(difference)
        return Answer({"dry_run": is_dry, **answer, "unchanged": len(difference.unchanged)})

    async def scale(self, request: Request) -> Response:
        """Have other numbers of replicas, and answer a line for each job that comes or goes."""
        values = await read_body(request)
        check_keys(values, ("jobs",))
        begin = partial(self._begin_to_scale, scaled_jobs.take_counts(values))
        return OutcomeStream(begin, Length.LONG)

    async def _begin_to_scale(self, counts: Mapping[str, int]) -> Follow:
        try:
            difference = await scaled_jobs.scale(self._supervisor, counts)
        except NoTurnError as error:
            raise _make_refusal(error) from error
        except TooManyTurnsError as error:
            raise RequestError("busy", 503, f"nothing is changed: {error}; try again") from error
        everything = self._supervisor.jobs
        added = [everything[name] for name in difference.added if name in everything]
        return partial(scaled_jobs.follow, difference, added)

    async def shut_down(self, request: Request) -> Response:
        """Answer that it is so, and stop everything in order."""
        check_keys(await read_body(request), ())
        return _LastAnswer(self._supervisor)


class _LastAnswer(Answer):
    """The answer after which the supervisor stops; before it, nobody would be left to give it."""

    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__({"name": supervisor.config.name}, 202)
        self._supervisor = supervisor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._supervisor.end("somebody asked for it", 0)


def _answer_configs(configs: Sequence[JobConfig]) -> Response:
    jobs = [{"name": job.name, "group": job.group, "config": render_job(job)} for job in configs]
    return Answer({"jobs": jobs})


def _make_refusal(error: NoTurnError) -> RequestError:
    return RequestError("stopping", 409, str(error))
