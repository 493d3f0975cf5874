"""What can be asked of a supervisor, and how: the method, path, query and body of each question.

All who ask have it from here, the commands of `mocker` and `Client`. Each function is called as the
operation is in the OpenAPI description, at /v1/openapi.json, which tells what may be in a question
and what comes back.
"""

from collections.abc import Mapping, Sequence

from .exchange import Body, Query, quote

Request = tuple[str, str, Query, Body | None]  # method, path, query, body
Names = Sequence[str]  # of jobs, or patterns such as "web-*"


def get_supervisor() -> Request:
    """Ask a supervisor who it is."""
    return "GET", "/v1/supervisor", (), None


def list_jobs(names: Names = (), *, stats: bool = False) -> Request:
    """Ask how jobs are, without names all, and perhaps for their CPU and memory as well."""
    query = [("name", name) for name in names] + [("stats", "1")] * stats
    return "GET", "/v1/jobs", query, None


def list_figures(names: Names) -> Request:
    """Ask what jobs use and have printed, without names all."""
    return "GET", "/v1/stats", [("name", name) for name in names], None


def get_config(name: str) -> Request:
    """Ask what a job is like."""
    return "GET", f"/v1/jobs/{quote(name)}/config", (), None


def get_logs(
    names: Names, *, count: int | None = None, since_s: float | None = None, follow: bool = False
) -> Request:
    """Ask for the last lines of jobs: all that are kept, or fewer; and perhaps for what follows."""
    query = [("job", name) for name in names] + [("follow", "1")] * follow
    query += [] if count is None else [("n", str(count))]
    query += [] if since_s is None else [("since_s", f"{since_s:f}")]
    return "GET", "/v1/logs", query, None


def truncate_logs(names: Names) -> Request:
    """Ask to forget what jobs have printed."""
    return "POST", "/v1/logs/truncate", (), {"jobs": list(names)}


def follow_events() -> Request:
    """Ask how all jobs are, and then for each change."""
    return "GET", "/v1/events", (), None


def act(
    action: str,
    names: Names,
    *,
    wait: bool | None = None,
    force: bool = False,
    rolling: bool = False,
    signal: str | None = None,
) -> Request:
    """Ask to do something with jobs, such as "start", and for what came of each."""
    wishes = {"wait": wait, "force": force or None, "rolling": rolling or None, "signal": signal}
    said = {key: value for key, value in wishes.items() if value is not None}
    return "POST", "/v1/actions", (), {"action": action, "jobs": list(names), **said}


def wait(names: Names, condition: str, timeout_s: float | None = None) -> Request:
    """Ask to be told of jobs once they are "ready", "completed" or "stopped", or it is too late."""
    limit = {} if timeout_s is None else {"timeout_s": timeout_s}
    return "POST", "/v1/wait", (), {"jobs": list(names), "for": condition, **limit}


def scale(counts: Mapping[str, int]) -> Request:
    """Ask for other numbers of replicas, by entry."""
    return "POST", "/v1/scale", (), {"jobs": dict(counts)}


def reload() -> Request:
    """Ask to follow what has changed in the file."""
    return "POST", "/v1/reload", (), {}


def plan_reload() -> Request:
    """Ask to be told what a reload would change."""
    return "GET", "/v1/reload", (), None


def shut_down() -> Request:
    """Ask to stop all jobs in order, and to end."""
    return "POST", "/v1/shutdown", (), {}
