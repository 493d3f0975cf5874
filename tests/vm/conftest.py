"""What is tested in a machine of its own, see `run`; elsewhere nothing of it is collected."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from mocker.isolation import delegation
from tests.vm.machine import MODE, find_cgroup

HERE = Path(__file__).parent
TIME_LIMIT = 120  # seconds of a test; to start a process takes ten times as long as elsewhere

collect_ignore_glob = [] if MODE else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TIME_LIMIT))


@pytest.fixture(autouse=True)
def _stay_in_its_cgroup() -> Iterator[None]:
    """Undo that a test which makes a container with limits by itself moves to a scope for that."""
    own = find_cgroup(os.getpid())
    yield
    if find_cgroup(os.getpid()) != own:
        (own / "cgroup.procs").write_text(str(os.getpid()))
        delegation._found.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a skip be a failure: what the machine lacks, no other run makes up for."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
    return report
