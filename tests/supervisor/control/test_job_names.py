"""Which jobs are meant."""

from collections.abc import Iterator

import pytest

from mocker.supervisor.control.job_names import find_jobs, is_meant
from mocker.supervisor.control.problems import RequestError
from mocker.supervisor.jobs import Job
from tests.supervisor.control.control_world import Puppet
from tests.supervisor.job_world import make_means

Jobs = dict[str, Job]


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    with make_means() as means:
        groups = {"db": "db", "web-1": "web", "web-2": "web", "a[1]": "a[1]"}
        yield {name: Puppet(means, name, group=group) for name, group in groups.items()}


def find_names(jobs: Jobs, *patterns: str) -> list[str]:
    return [job.config.name for job in find_jobs(jobs, patterns)]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["db"], ["db"]),
        (["web"], ["web-1", "web-2"]),
        (["web:*", "db:*"], ["db", "web-1", "web-2"]),
        (["web-2", "db", "db"], ["db", "web-2"]),
        (["web-*"], ["web-1", "web-2"]),
        (["web-[!1]"], ["web-2"]),
        (["?b", "web-1"], ["db", "web-1"]),
        (["a[1]"], ["a[1]"]),
        (["all"], ["db", "web-1", "web-2", "a[1]"]),
        ([], []),
    ],
)
def test_jobs_are_found_once_and_in_the_order_of_the_file(
    jobs: Jobs, patterns: list[str], names: list[str]
) -> None:
    assert find_names(jobs, *patterns) == names


@pytest.mark.parametrize("pattern", ["web-1", "web", "web:*", "w*1", "all"])
def test_job_is_meant_by_each_of_its_names(jobs: Jobs, pattern: str) -> None:
    assert is_meant(jobs, {"x", pattern}, "web-1")


def test_job_is_not_meant_by_other_names(jobs: Jobs) -> None:
    assert not is_meant(jobs, {"x", "web-2", "db:*", "w*2"}, "web-1")
    assert not is_meant(jobs, {"all"}, "web-3")


def test_all_are_none_where_there_are_none() -> None:
    assert find_names({}, "all") == []


@pytest.mark.parametrize("pattern", ["x", "", "x*", "WEB", "web-", "web-1:*", ":*", "\ud800"])
def test_name_or_pattern_that_means_none_is_refused(jobs: Jobs, pattern: str) -> None:
    with pytest.raises(RequestError) as caught:
        find_names(jobs, "db", pattern)

    assert (caught.value.code, caught.value.jobs) == ("no-such-job", (pattern,))


def test_name_that_may_be_meant_is_told(jobs: Jobs) -> None:
    with pytest.raises(RequestError, match="there is no job 'web-11'; is 'web-1' meant"):
        find_names(jobs, "web-11")


def test_long_name_is_told_in_part(jobs: Jobs) -> None:
    with pytest.raises(RequestError) as caught:
        find_names(jobs, "x" * 10**6)

    assert len(str(caught.value)) < 200


def test_too_many_patterns_are_refused(jobs: Jobs) -> None:
    with pytest.raises(RequestError, match="more than 100 patterns"):
        find_names(jobs, *(f"{number}*" for number in range(101)))


def test_patterns_that_are_repeated_count_once(jobs: Jobs) -> None:
    assert find_names(jobs, *["d*"] * 1000) == ["db"]


def test_pattern_that_is_longer_than_any_name_is_refused(jobs: Jobs) -> None:
    with pytest.raises(RequestError, match="more than 256 characters"):
        find_names(jobs, "*" + "x" * 256)
