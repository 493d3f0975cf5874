"""The examples in configs/: each could run here, and together they show every key."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from mocker.supervisor.config_file import load_config
from mocker.supervisor.job_keys import JOB_KEYS
from tests.conftest import Mocker
from tests.requirements import requires_busybox

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))

each_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


def read_tables(path: Path) -> list[dict[str, Any]]:
    """Return the tables of a file that have keys of jobs."""
    tables = tomllib.loads(path.read_text())
    return [tables.get("defaults", {}), *tables["jobs"].values()]


@requires_busybox
@each_config
def test_example_could_run_here(mocker: Mocker, path: Path) -> None:
    result = mocker("check", str(path))

    if path.stem == "limits" and (told := result.stderr.splitlines()):
        # Not every host has cgroups to limit with, or disks that heed weights; the rest could be.
        lacks = (": cannot limit a container; ", ": jobs.backup.io_weight: ")
        assert [line for line in told if not any(lack in line for lack in lacks)] == []
        return
    assert result.stderr == ""
    assert result.stdout.startswith(f"{path}: ok, ")
    assert result.returncode == 0


@each_config
def test_example_begins_with_what_it_shows(path: Path) -> None:
    assert path.read_text().startswith("# ")


def test_main_example_has_a_job_of_each_sort() -> None:
    path = next(path for path in CONFIGS if path.name == "jobs.toml")

    jobs = load_config(str(path), {}).jobs

    web, worker, check = jobs["web"], jobs["worker"], jobs["check-site"]
    assert web.container.argv[0] == "httpd"
    assert web.ready is not None
    assert worker.depends_on["web"] == "ready"
    assert check.kind == "oneshot"
    assert {web.depends_on["check-site"], worker.depends_on["check-site"]} == {"completed"}
    assert jobs["clock"].schedule is not None
    assert jobs["flaky"].restart == "on-failure"


def test_every_key_is_shown() -> None:
    shown = {key for path in CONFIGS for table in read_tables(path) for key in table}

    assert shown == set(JOB_KEYS)


def test_every_way_to_be_ready_is_shown() -> None:
    probes = [
        table[key]
        for path in CONFIGS
        for table in read_tables(path)
        for key in ("ready", "alive")
        if key in table
    ]

    shown = {kind for probe in probes for kind in probe}
    assert shown >= {
        "tcp",
        "http",
        "exec",
        "log",
        "notify",
        "fd",
        "interval",
        "timeout",
        "failures",
    }


def test_every_condition_is_shown() -> None:
    conditions = {
        condition
        for path in CONFIGS
        for job in load_config(str(path), {"PATH": ""}).jobs.values()
        for condition in job.depends_on.values()
    }

    assert conditions == {"started", "ready", "completed", "exited"}
