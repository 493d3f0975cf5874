from pathlib import Path

import pytest

from mocker.supervisor.config import SupervisorConfig
from mocker.supervisor.scaling import ScaleError, follow_file, scale_jobs
from tests.configs import load

FILE = """
    [jobs.web]
    command = "sleep 1000"
    replicas = 2
    [jobs.front]
    command = "true"
    depends_on = { web = "ready" }
    [jobs.db]
    command = "true"
"""


@pytest.fixture
def filed(tmp_path: Path) -> SupervisorConfig:
    return load(tmp_path, FILE)


def load_other(directory: Path, old: str, new: str) -> SupervisorConfig:
    """Return what the file says with another text in it."""
    assert old in FILE
    return load(directory, FILE.replace(old, new))


def test_replicas_keep_their_names_and_the_others_are_numbered_on(filed: SupervisorConfig) -> None:
    scaled = scale_jobs(filed, {"web": 4}).config

    assert list(scaled.jobs) == ["web-1", "web-2", "web-3", "web-4", "front", "db"]
    assert scaled.jobs["web-1"] == filed.jobs["web-1"]
    assert scaled.jobs["db"] == filed.jobs["db"]


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_file_with_that_number_means_the_same(
    tmp_path: Path, filed: SupervisorConfig, count: int
) -> None:
    said = load_other(tmp_path, "replicas = 2", f"replicas = {count}")

    assert scale_jobs(filed, {"web": count}).config == said


def test_highest_numbers_go_first(filed: SupervisorConfig) -> None:
    assert list(scale_jobs(filed, {"web": 1}).config.jobs) == ["web-1", "front", "db"]


def test_host_name_of_its_own_is_kept(tmp_path: Path) -> None:
    filed = load_other(tmp_path, "replicas = 2", "replicas = 1\nhostname = 'www'")

    scaled = scale_jobs(filed, {"web": 2}).config

    assert scaled.jobs["web-2"].container.hostname == "www"


def test_who_depends_on_one_replica_goes_on_doing_so(tmp_path: Path) -> None:
    filed = load_other(tmp_path, 'web = "ready"', 'web-1 = "ready"')

    scaled = scale_jobs(filed, {"web": 3}).config

    assert scaled.jobs["front"] == filed.jobs["front"]


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('web = "ready"', 'web-2 = "ready"', "cannot remove web-2: front depends on it"),
        (
            'command = "true"\n    depends_on',
            'command = "true"\n    network = "job:web-2"\n    depends_on',
            "cannot remove web-2: front shares its network",
        ),
    ],
)
def test_replica_that_another_job_needs_cannot_go(
    tmp_path: Path, old: str, new: str, text: str
) -> None:
    filed = load_other(tmp_path, old, new)

    with pytest.raises(ScaleError, match=text) as caught:
        scale_jobs(filed, {"web": 1})

    assert caught.value.jobs == ("front",)


def test_job_without_replicas_cannot_be_scaled(filed: SupervisorConfig) -> None:
    with pytest.raises(ScaleError, match="cannot scale db: it is one job"):
        scale_jobs(filed, {"db": 2})


def test_entry_that_is_not_there_is_told(filed: SupervisorConfig) -> None:
    with pytest.raises(ScaleError, match="there is no job 'nope'") as caught:
        scale_jobs(filed, {"nope": 2})

    assert caught.value.is_unknown


def test_name_of_another_job_is_not_taken(tmp_path: Path) -> None:
    filed = load_other(tmp_path, "[jobs.db]", "[jobs.web-4]")
    scale_jobs(filed, {"web": 3})

    with pytest.raises(ScaleError, match="cannot scale web: web-4 is the name of another job"):
        scale_jobs(filed, {"web": 4})


def test_name_that_is_no_host_name_any_more_is_refused(tmp_path: Path) -> None:
    name = "w" * 62
    filed = load(tmp_path, f"[jobs.{name}]\ncommand = 'true'\nreplicas = 1")

    with pytest.raises(ScaleError, match=f"cannot scale {name}: "):
        scale_jobs(filed, {name: 10})


def test_number_outlives_a_file_that_says_the_same_of_the_entry(
    tmp_path: Path, filed: SupervisorConfig
) -> None:
    scaled = scale_jobs(filed, {"web": 4})

    followed = follow_file(scaled, load_other(tmp_path, "[jobs.db]", "[jobs.other]"))

    assert list(followed.config.jobs) == ["web-1", "web-2", "web-3", "web-4", "front", "other"]
    assert followed.counts == {"web": 4}


@pytest.mark.parametrize(
    ("old", "new"), [("replicas = 2", "replicas = 3"), ("sleep 1000", "sleep 2000")]
)
def test_number_ends_with_a_file_that_says_something_else(
    tmp_path: Path, filed: SupervisorConfig, old: str, new: str
) -> None:
    other = load_other(tmp_path, old, new)

    followed = follow_file(scale_jobs(filed, {"web": 4}), other)

    assert (followed.config, followed.counts) == (other, {})


def test_number_ends_with_a_file_that_it_cannot_be_with(
    tmp_path: Path, filed: SupervisorConfig
) -> None:
    other = load_other(tmp_path, "[jobs.db]", "[jobs.web-4]")

    assert follow_file(scale_jobs(filed, {"web": 4}), other).config == other
