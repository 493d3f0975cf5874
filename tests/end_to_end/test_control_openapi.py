"""That a supervisor answers as its OpenAPI description says, whatever it is asked."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.supervised import open_supervisor
from tests.loopback import open_loopback
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
JOBS = """
[jobs.web]
command = "sleep 1000"
replicas = 2
[jobs.db]
command = "sleep 1000"
grace = 0
[jobs.done]
command = "true"
type = "oneshot"
"""
# Nobody is well where everything was stopped.
# What is described may still be of no job that there is, of one that is needed, or too much of it.
RULES = """
[[operations]]
include-path = "/v1/logs"
parameters = { follow = "0" }
[[operations]]
include-path = "/health"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 503]
checks.positive_data_acceptance.expected-statuses = ["2xx", 503]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 404, 409, 413]
"""
LIMIT_S = 120


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 20)
def test_whatever_is_asked_is_answered_as_it_is_described(tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(RULES)

    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_event("job.started", job="db")
        with open_loopback(tmp_path / "mocker/jobs.sock") as port:
            result = subprocess.run(
                [
                    SCHEMATHESIS,
                    "run",
                    f"http://127.0.0.1:{port}/v1/openapi.json",
                    "--exclude-path=/v1/shutdown",  # after which nothing is answered
                    "--exclude-path=/v1/events",  # which has no end
                    "--exclude-path=/v1/wait",  # which lasts
                    "--phases=examples,coverage,fuzzing",
                    "--max-examples=20",
                    "--request-timeout=20",
                    "--continue-on-failure",
                    "--seed=1",
                    "--no-color",
                ],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                check=False,
            )
        alive = supervised.process.poll() is None

    assert result.returncode == 0, result.stdout + result.stderr
    assert alive
