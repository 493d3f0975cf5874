from functools import partial
from pathlib import Path

import pytest

from mocker.supervisor.control.log_routes import make_log_routes
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.control.served import make_served

pytestmark = [requires_user_namespaces, requires_busybox]


def test_all_that_is_followed_is_given_at_one_pace(tmp_path: Path) -> None:
    with make_served(tmp_path) as served:
        routes = {route.path: route for route in make_log_routes(served.supervisor)}

    endpoints = [routes[path].endpoint for path in ("/v1/logs", "/v1/events")]
    paces = [endpoint.args[1] for endpoint in endpoints if isinstance(endpoint, partial)]
    assert len(paces) == 2
    assert paces[0] is paces[1]


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/logs", "POST"), ("/v1/events", "POST"), ("/v1/logs/truncate", "GET")]
)
async def test_other_methods_are_refused(tmp_path: Path, path: str, method: str) -> None:
    with make_served(tmp_path) as served:
        async with served.serve(), served.ask(path, method=method) as asked:
            status, _ = await asked.read_all()

    assert status == 405
