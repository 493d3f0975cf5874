from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.configs import find_mistakes, load


def make_jobs(keys: Mapping[str, str]) -> str:
    return "".join(f'[jobs.{name}]\ncommand = "true"\n{text}\n' for name, text in keys.items())


def test_job_waits_for_what_it_names(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        make_jobs({"web": 'depends_on = { db = "ready", a = "completed" }', "db": "", "a": ""}),
    )

    assert config.jobs["web"].depends_on == {"db": "ready", "a": "completed"}


def test_list_of_names_waits_for_their_start(tmp_path: Path) -> None:
    config = load(tmp_path, make_jobs({"web": 'depends_on = ["db", "a"]', "db": "", "a": ""}))

    assert config.jobs["web"].depends_on == {"db": "started", "a": "started"}


def test_job_waits_for_all_replicas(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        make_jobs({"web": 'depends_on = { db = "ready" }\nreplicas = 2', "db": "replicas = 2"}),
    )

    for name in ("web-1", "web-2"):
        assert config.jobs[name].depends_on == {"db-1": "ready", "db-2": "ready"}


def test_job_may_wait_for_one_replica(tmp_path: Path) -> None:
    config = load(
        tmp_path, make_jobs({"web": 'depends_on = { db-2 = "ready" }', "db": "replicas = 2"})
    )

    assert config.jobs["web"].depends_on == {"db-2": "ready"}


def test_order_of_the_jobs_is_that_of_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, make_jobs({"c": 'depends_on = ["a"]', "b": "replicas = 2", "a": ""}))

    assert list(config.jobs) == ["c", "b-1", "b-2", "a"]


@pytest.mark.parametrize(
    ("name", "suggestion"), [("dbb", "; did you mean 'db'?"), ("xyz", ""), ("db-1", "")]
)
def test_unknown_job_is_told_with_the_nearest(tmp_path: Path, name: str, suggestion: str) -> None:
    jobs = make_jobs({"web": f'depends_on = {{ {name} = "ready" }}', "db": ""})

    (mistake,) = find_mistakes(tmp_path, jobs)

    where = f"3: jobs.web.depends_on.{name}: there is no job '{name}'"
    assert mistake.startswith(where + suggestion)


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ({"a": 'depends_on = ["a"]'}, "3: jobs.a.depends_on: must have no cycle, and has a -> a"),
        (
            {"a": 'depends_on = ["b"]', "b": 'depends_on = ["c"]', "c": 'depends_on = ["a"]'},
            "3: jobs.a.depends_on: must have no cycle, and has a -> b -> c -> a",
        ),
        (
            {"a": 'depends_on = ["b-2"]\nreplicas = 2', "b": 'depends_on = ["a"]\nreplicas = 2'},
            "3: jobs.a.depends_on: must have no cycle, and has a -> b -> a",
        ),
        (
            {"a": 'network = "job:b"', "b": 'depends_on = { a = "ready" }'},
            "3: jobs.a.network: must have no cycle, and has a -> b -> a",
        ),
    ],
)
def test_cycle_is_told_with_its_path(tmp_path: Path, keys: dict[str, str], mistake: str) -> None:
    assert mistake in find_mistakes(tmp_path, make_jobs(keys))


def test_cycle_is_told_along_with_other_mistakes(tmp_path: Path) -> None:
    jobs = make_jobs({"a": 'depends_on = ["b"]\ngrace = -1', "b": 'depends_on = ["a"]\nx = 1'})

    assert [line.partition(" ")[0] for line in find_mistakes(tmp_path, jobs)] == ["3:", "4:", "8:"]


def test_two_ways_to_one_job_are_no_cycle(tmp_path: Path) -> None:
    jobs = {
        "a": 'depends_on = { b = "started", c = "exited" }',
        "b": 'depends_on = ["c"]',
        "c": "",
    }

    assert len(load(tmp_path, make_jobs(jobs)).jobs) == 3


def test_network_of_a_job_is_there_once_it_has_started(tmp_path: Path) -> None:
    config = load(tmp_path, make_jobs({"web": 'network = "job:db"', "db": ""}))

    assert config.jobs["web"].container.network == "job:db"
    assert config.jobs["web"].depends_on == {"db": "started"}


def test_condition_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    jobs = {"web": 'network = "job:db"\ndepends_on = { db = "ready" }', "db": ""}

    assert load(tmp_path, make_jobs(jobs)).jobs["web"].depends_on == {"db": "ready"}


def test_only_replica_needs_no_number(tmp_path: Path) -> None:
    config = load(tmp_path, make_jobs({"web": 'network = "job:db"', "db": "replicas = 1"}))

    assert config.jobs["web"].container.network == "job:db-1"


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        (
            {"web": 'network = "job:dbb"', "db": ""},
            "3: jobs.web.network: there is no job 'dbb'; did you mean 'db'?",
        ),
        (
            {"web": 'network = "job:db"', "db": "replicas = 2"},
            "3: jobs.web.network: must name one replica, such as 'job:db-1'",
        ),
        (
            {"web": 'network = "job:db"', "db": 'network = "host"'},
            "3: jobs.web.network: must name a job with a network of its own; 'db' has none",
        ),
        (
            {"web": 'network = "job:db"', "db": "isolate = false"},
            "3: jobs.web.network: must name a job with a network of its own; 'db' has none",
        ),
    ],
)
def test_network_that_cannot_be_shared_is_a_mistake(
    tmp_path: Path, keys: dict[str, str], mistake: str
) -> None:
    assert find_mistakes(tmp_path, make_jobs(keys)) == [mistake]


def test_replica_with_the_name_of_another_job_is_a_mistake(tmp_path: Path) -> None:
    found = find_mistakes(tmp_path, make_jobs({"web": "replicas = 2", "web-2": ""}))

    assert found == ["1: jobs.web: has a replica with the name of another job, 'web-2'"]


def test_mistake_in_the_defaults_is_told_there(tmp_path: Path) -> None:
    found = find_mistakes(tmp_path, f'[defaults]\ndepends_on = ["dbb"]\n{make_jobs({"db": ""})}')

    assert found == ["2: defaults.depends_on.dbb: there is no job 'dbb'; did you mean 'db'?"]
