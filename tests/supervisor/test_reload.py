import attrs

from mocker.supervisor.config import SupervisorConfig
from mocker.supervisor.reload import compare
from tests.supervisor.job_world import configure


def file(**scripts: str) -> SupervisorConfig:
    """Return a file with a job for each script."""
    jobs = {name: configure(script, name=name) for name, script in scripts.items()}
    return SupervisorConfig(path="/jobs.toml", name="demo", jobs=jobs)


def test_same_file_changes_nothing() -> None:
    changes = compare(file(web="a", db="b"), file(web="a", db="b"))

    assert changes.unchanged == ("web", "db")
    assert not any((changes.added, changes.removed, changes.changed, changes.needs_restart))


def test_jobs_that_come_go_and_change_are_told_apart() -> None:
    changes = compare(file(web="a", db="b", old="c"), file(new="d", web="a", db="other"))

    assert (changes.added, changes.removed) == (("new",), ("old",))
    assert (changes.changed, changes.unchanged) == (("db",), ("web",))


def test_any_field_of_a_job_counts() -> None:
    old = file(web="a")
    new = attrs.evolve(old, jobs={"web": configure("a", grace=11.0)})

    assert compare(old, new).changed == ("web",)


def test_keys_that_cannot_be_followed_are_named() -> None:
    old = file(web="a")

    new = attrs.evolve(old, name="other", log_format="json", stop_timeout=1.0)
    new = attrs.evolve(new, journald_socket="/socket")

    assert compare(old, new).needs_restart == ("name", "log_format", "journald_socket")
