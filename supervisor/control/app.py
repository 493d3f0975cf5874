"""The resources below /v1/, and what each answers."""

from functools import partial
from importlib.metadata import version

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..jobs import Job
from ..supervise import Supervisor
from .actions import ACTIONS, Action, Deed, Follow, parse_signal
from .answers import Answer
from .connections import Length
from .figures import Figures, describe_figures
from .job_names import ALL, find_jobs
from .job_views import is_well
from .line_stream import LineStream, OutcomeStream
from .log_routes import make_log_routes
from .problems import Code, RequestError
from .recent_views import RecentViews
from .requests import check_keys, read_body, take, take_names
from .rolling import RollingRestarts
from .waiting import take_condition, take_timeout, wait_for_jobs
from .whole import WholeResources

_UNREAD = {408, 413}  # of HTTP: the rest of the request is not waited for, and so no next one
_CODES: dict[int, Code] = {404: "no-such-resource", 405: "no-such-method"}


class Resources:
    """What is answered for one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._version = version("mocker-supervise")
        self._figures = Figures(supervisor)
        # One of each kind, or who asks for one would undo the other.
        counts = supervisor.start_counts
        self._views, self._views_with_use = RecentViews(counts), RecentViews(counts)
        self._rolling = RollingRestarts(supervisor.jobs, supervisor.stops)

    def make_app(self) -> Starlette:
        """Return the application, for a server to run."""
        app = Starlette(
            routes=[
                Route("/health", self.tell_health),
                Route("/v1/supervisor", self.describe_supervisor),
                Route("/v1/jobs", self.list_jobs),
                *make_log_routes(self._supervisor),
                Route("/v1/stats", self.list_figures),
                Route("/v1/actions", self.act, methods=["POST"]),
                Route("/v1/wait", self.wait, methods=["POST"]),
                *WholeResources(self._supervisor, self._figures).make_routes(),
            ],
            # Starlette gives each only the errors that it is for, and types all alike.
            exception_handlers={
                RequestError: _answer_problem,  # type: ignore[dict-item]
                HTTPException: _answer_http_problem,  # type: ignore[dict-item]
                Exception: _answer_own_mistake,
            },
        )
        app.router.redirect_slashes = False
        return app

    async def tell_health(self, _: Request) -> Response:
        """Answer 200 if all jobs do what they are there for, 503 if not."""
        unwell = [name for name, job in self._supervisor.jobs.items() if not is_well(job)]
        return Answer({"ok": not unwell, "jobs": unwell}, 503 if unwell else 200)

    async def describe_supervisor(self, _: Request) -> Response:
        """Answer what it is that answers."""
        config = self._supervisor.config
        return Answer(
            {
                "name": config.name,
                "path": config.path,
                "version": self._version,
                "jobs": len(config.jobs),
            }
        )

    async def list_jobs(self, request: Request) -> Response:
        """Answer the state of jobs; with stats=1 also what they use."""
        check_keys(request.query_params, ("name", "stats"))
        with_use = request.query_params.get("stats", "0")
        if with_use not in {"0", "1"}:
            raise RequestError("bad-request", 400, "'stats' is neither 1 nor 0")
        jobs = self._find_jobs(request)
        views, seen = self._views, None
        if with_use == "1":
            views, seen = self._views_with_use, await self._figures.look()
        text = views.render(jobs, trio.current_time(), seen)
        return Response(text, media_type=Answer.media_type)

    async def list_figures(self, request: Request) -> Response:
        """Answer what jobs use and have printed."""
        check_keys(request.query_params, ("name",))
        jobs = self._find_jobs(request)
        seen = await self._figures.look()
        find = self._supervisor.start_counts.find
        described = [describe_figures(job, seen, find(job).restarts) for job in jobs]
        return Answer({"jobs": described})

    def _find_jobs(self, request: Request) -> list[Job]:
        return find_jobs(self._supervisor.jobs, request.query_params.getlist("name") or [ALL])

    async def act(self, request: Request) -> Response:
        """Do something with jobs, and answer a line for each once it is done."""
        values = await read_body(request)
        check_keys(values, ("action", "jobs", "signal", "wait", "force", "rolling"))
        name = take(values, "action", str, "")
        if name not in ACTIONS:
            text = f"there is no action {name!r}, but {', '.join(ACTIONS)}"
            raise RequestError("bad-request", 400, text)
        signal = take(values, "signal", str, "")
        number = parse_signal(signal) if name == "signal" else 0
        action = Action(
            name=name,
            signal=number,
            wait=take(values, "wait", bool, True),
            force=take(values, "force", bool, False),
        )
        rolling = take(values, "rolling", bool, False)
        if rolling and not (name == "restart" and action.wait):
            raise RequestError("bad-request", 400, "'rolling' is for a restart that is waited for")
        everything = self._supervisor.jobs
        jobs = find_jobs(everything, take_names(values))

        async def begin() -> Follow:
            if rolling:
                return partial(self._rolling.replace, jobs)
            others = list(everything.values())
            deed = Deed(action, jobs, others, self._supervisor.stops, self._supervisor.running)
            return deed.follow

        return OutcomeStream(begin, Length.LONG if action.may_last else Length.SHORT)

    async def wait(self, request: Request) -> Response:
        """Answer a line for each job once it is what it is to be, or never will be."""
        values = await read_body(request)
        check_keys(values, ("jobs", "for", "timeout_s"))
        condition, timeout = take_condition(values), take_timeout(values)
        jobs = find_jobs(self._supervisor.jobs, take_names(values))
        tell = partial(wait_for_jobs, self._supervisor, jobs, condition, timeout)
        return LineStream(tell, Length.ENDLESS)


# Asynchronous, though they wait for nothing: Starlette calls others in a thread.
async def _answer_problem(_: Request, error: RequestError) -> Response:
    headers = {"Connection": "close"} if error.status in _UNREAD else None
    return Answer(error.render(), error.status, headers)


async def _answer_http_problem(request: Request, error: HTTPException) -> Response:
    code = _CODES.get(error.status_code, "bad-request")
    # Not by its URL: that begins with what the request calls the host, which may be anything.
    text = f"{request.method} {request.scope['path']}: {error.detail}"
    problem = RequestError(code, error.status_code, text)
    return Answer(problem.render(), error.status_code, error.headers)


async def _answer_own_mistake(_: Request, error: Exception) -> Response:
    text = f"the supervisor made a mistake, see its log: {type(error).__name__}"
    return Answer(RequestError("internal", 500, text).render(), 500)
