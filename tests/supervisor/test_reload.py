import threading
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from mocker.supervisor.config import CONSOLE, ControlConfig, SupervisorConfig
from mocker.supervisor.errors import ConfigError
from mocker.supervisor.reload import compare, list_changed_keys, load_in_time, render_difference
from tests.supervisor.job_world import configure


def file(**scripts: str) -> SupervisorConfig:
    """Return a file with a job for each script."""
    jobs = {name: configure(script, name=name) for name, script in scripts.items()}
    return SupervisorConfig(path="/jobs.toml", name="demo", jobs=jobs)


async def test_file_whose_disk_does_not_answer_is_refused(autojump_clock: MockClock) -> None:
    release = threading.Event()

    def load() -> SupervisorConfig:
        release.wait(5)
        return file()

    with pytest.raises(ConfigError) as refusal:
        await load_in_time(load, "/jobs.toml", trio.CapacityLimiter(1))
    release.set()

    why = "its disk, or that of a file it names, has not answered for 30 s"
    assert refusal.value.mistakes == (f"/jobs.toml: cannot read it: {why}",)


def test_same_file_changes_nothing() -> None:
    changes = compare(file(web="a", db="b"), file(web="a", db="b"))

    assert changes.unchanged == ("web", "db")
    assert not any((changes.added, changes.removed, changes.changed, changes.needs_restart))


def test_jobs_that_come_go_and_change_are_told_apart() -> None:
    changes = compare(file(web="a", db="b", old="c"), file(new="d", web="a", db="other"))

    assert (changes.added, changes.removed) == (("new",), ("old",))
    assert (changes.changed, changes.unchanged) == ({"db": ("command",)}, ("web",))


def test_any_field_of_a_job_counts() -> None:
    old = file(web="a")
    new = attrs.evolve(old, jobs={"web": configure("a", grace=11.0)})

    assert compare(old, new).changed == {"web": ("grace",)}


def test_keys_that_cannot_be_followed_are_named() -> None:
    old = file(web="a")

    new = attrs.evolve(old, name="other", log_format="json", stop_timeout=1.0)
    new = attrs.evolve(new, journald_socket="/socket", control=ControlConfig(uids=frozenset({7})))

    expected = ("name", "log_format", "journald_socket", "control")
    assert compare(old, new).needs_restart == expected


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({"kind": "oneshot", "restart": "never"}, ("restart", "type")),
        ({"grace": 11.0}, ("grace",)),
        ({"depends_on": {"db": "ready"}}, ("depends_on",)),
        ({"group": "webs"}, ("replicas",)),
        ({"channels": {"stdout": (CONSOLE,), "stderr": ()}}, ("stderr",)),
        ({"channels": {"output": (CONSOLE,)}}, ("output", "stderr", "stdout")),
    ],
)
def test_keys_that_differ_are_those_of_the_file(
    fields: dict[str, object], keys: tuple[str, ...]
) -> None:
    assert list_changed_keys(configure("a"), configure("a", **fields)) == keys


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({"argv": ("b",)}, ("command",)),
        ({"rlimits": (("core", 0, 0),)}, ("ulimits",)),
        ({"env": {"A": "b"}, "hostname": "www"}, ("env", "hostname")),
    ],
)
def test_keys_of_the_container_are_those_of_the_file(
    fields: dict[str, Any], keys: tuple[str, ...]
) -> None:
    old = configure("a")
    new = attrs.evolve(old, container=attrs.evolve(old.container, **fields))

    assert list_changed_keys(old, new) == keys


def test_what_is_the_same_is_told_as_a_number_and_nothing_not_at_all() -> None:
    difference = compare(file(web="a", db="b"), file(web="a", db="other"))

    assert render_difference(difference) == {"changed": ["db"], "unchanged": 1}
