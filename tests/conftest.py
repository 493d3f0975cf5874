"""Fixtures and rules of every test."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from trio._core import _thread_cache

from mocker.supervisor import places
from tests.in_namespaces import InNewNamespaces, run_in_new_namespaces
from tests.leaks import find_leaks, observe
from tests.requirements import MUST_RUN, find_identity_obstacle

Mocker = Callable[..., subprocess.CompletedProcess[str]]

# A busy machine makes no test wrong, the checkout need not be writable, and CI, where nobody looks
# for the example that failed last time, tries the same ones each time.
settings.register_profile(
    "mocker",
    deadline=None,
    database=None,
    derandomize=MUST_RUN,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("mocker")

# Seconds that a thread lives on without work, instead of ten: from a process that has threads
# nothing can be cloned, and the next test may want to.
_thread_cache.IDLE_TIMEOUT = places.IDLE_S = 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, in CI, what the suite's other pass runs: a skip there would look like a gap."""
    if not MUST_RUN:
        return
    misfits = [item for item in items if find_identity_obstacle(item)]
    items[:] = [item for item in items if item not in misfits]
    config.hook.pytest_deselected(items=misfits)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if obstacle := find_identity_obstacle(item):
        pytest.skip(obstacle)
    for mark in item.iter_markers("requires"):
        if obstacle := mark.args[0]():
            if MUST_RUN:
                pytest.fail(f"{obstacle} (MOCKER_TESTS_MUST_RUN=1)", pytrace=False)
            pytest.skip(obstacle)


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    before = observe()
    yield
    leaks = find_leaks(before)
    if leaks:
        pytest.fail("the test leaves behind:\n" + "\n".join(leaks), pytrace=False)


@pytest.fixture(scope="session")
def mocker() -> Mocker:
    """Run the installed command and wait for it: mocker("run", "cat", stdin="text")."""
    command = Path(sys.executable).with_name("mocker")

    def run_mocker(
        *arguments: str,
        stdin: str = "",
        timeout: float = 15,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=env,
            cwd=cwd,
            check=False,
        )

    return run_mocker


@pytest.fixture(scope="session")
def in_new_namespaces() -> InNewNamespaces:
    """Run a function as root of new user and mount namespaces; see `run_in_new_namespaces`."""
    return run_in_new_namespaces
