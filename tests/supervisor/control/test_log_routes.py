from pathlib import Path

import pytest

from mocker.supervisor.control.log_routes import make_log_routes
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.control.served import make_served

pytestmark = [requires_user_namespaces, requires_busybox]


def test_each_resource_is_there_once(tmp_path: Path) -> None:
    with make_served(tmp_path) as served:
        paths = [route.path for route in make_log_routes(served.supervisor)]

    assert sorted(paths) == ["/v1/events", "/v1/logs", "/v1/logs/truncate"]


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/logs", "POST"), ("/v1/events", "POST"), ("/v1/logs/truncate", "GET")]
)
async def test_other_methods_are_refused(tmp_path: Path, path: str, method: str) -> None:
    with make_served(tmp_path) as served:
        async with served.serve(), served.ask(path, method=method) as asked:
            status, _ = await asked.read_all()

    assert status == 405
