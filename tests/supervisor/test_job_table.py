from pathlib import Path

import attrs
import pytest

from mocker.supervisor.client.toml_table import render_tables
from mocker.supervisor.config import ContainerConfig, JobConfig
from mocker.supervisor.job_table import render_job
from tests.configs import load, load_job

EVERYTHING = r"""
    type = "oneshot"
    schedule = "* * * * *"
    overlap = "queue"
    run_on_start = true
    rootfs = "/srv"
    rootfs_mode = "overlay"
    read_only = true
    volumes = ["/tmp:/data", "/srv:/srv:ro"]
    tmpfs = ["/scratch:size=64m,mode=700", "/plain"]
    env = { A = 'b"c\d', DOLLARS = "$$$$ $${X} $HOME", "odd.name" = "é\u007f\n" }
    workdir = "/"
    user = "1000:1000"
    hostname = "www"
    network = "host"
    userns = "private"
    cap_add = ["net_admin"]
    cap_drop = ["mknod", "kill"]
    allow_new_privs = true
    seccomp = "unconfined"
    umask = "007"
    nice = 3
    oom_score_adj = -7
    cpu_affinity = "0-2,5"
    ulimits = { nofile = "10:20", core = "unlimited" }
    memory = "256M"
    cpus = 1.5
    pids = 100
    io_weight = 200
    restart = "on-failure"
    backoff = { initial = "10ms", factor = 1.5, max = "1m", jitter = 0, reset_after = 2 }
    give_up = { failures = 3, within = "1h" }
    success_codes = [0, 3]
    permanent_codes = [78]
    start_timeout = "2m"
    stop_signal = "SIGUSR1"
    grace = "250ms"
    timeout = "1h"
    ready = { fd = 3, interval = "100ms" }
    alive = { exec = ["true", "a b"], failures = 5 }
    stdin = "input"
    stdout = ["console", { file = "log", max_size = "1m", compress = true }]
    stderr = "null"
    on_full = "drop"
    max_line = "32k"
"""
# What a job has that is not isolated, and is on no schedule.
FENCED = "isolate = false\nlandlock = true\nwritable = ['data', '/var/lib/web']\ncritical = true"


def write_again(directory: Path, job: JobConfig) -> JobConfig:
    """Return what a file says that has a job as it is rendered."""
    text = render_tables(("jobs", job.name), render_job(job))
    return load(directory, text).jobs[job.name]


def test_job_that_says_nothing_is_rendered_with_all_that_goes_without_saying(
    tmp_path: Path,
) -> None:
    table = render_job(load_job(tmp_path, ""))

    assert table["command"] == ["true"]
    assert (table["restart"], table["grace"], table["stop_signal"]) == ("on-failure", 10, "TERM")
    assert table["stdout"] == "console"
    assert None not in table.values()


@pytest.mark.parametrize(
    "keys",
    [
        "",
        'ready = { tcp = 80 }\nalive = { http = "http://127.0.0.1/" }\noutput = "journald"',
        'ready = { notify = true }\noutput = "inherit"',
        'ready = { log = "^a$$b" }',
        "tty = true",
        "isolate = false",
        "isolate = false\nlandlock = true",
        "isolate = false\nlandlock = true\nwritable = []",
        FENCED,
        "rootfs = '/srv'\nrootfs_mode = 'rw'",
        "stop_signal = '40'",
        "type = 'oneshot'",
    ],
)
def test_job_as_it_is_rendered_means_the_same_in_a_file(tmp_path: Path, keys: str) -> None:
    job = load_job(tmp_path, keys)

    assert write_again(tmp_path, job) == job


def test_all_keys_mean_the_same_in_a_file(tmp_path: Path) -> None:
    job = load_job(tmp_path, EVERYTHING)

    assert write_again(tmp_path, job) == job


def test_each_field_of_a_job_is_rendered(tmp_path: Path) -> None:
    renamed = {"kind": "type", "argv": "command", "rlimits": "ulimits"}
    apart = {"name", "group", "container", "channels"}
    fields = {field.name for kind in (JobConfig, ContainerConfig) for field in attrs.fields(kind)}

    table = render_job(load_job(tmp_path, EVERYTHING)) | render_job(load_job(tmp_path, FENCED))

    assert {renamed.get(field, field) for field in fields - apart} <= table.keys()


def test_replica_is_rendered_as_a_job_of_its_own(tmp_path: Path) -> None:
    jobs = load(tmp_path, "[jobs.web]\ncommand = 'true'\nreplicas = 2").jobs

    again = write_again(tmp_path, jobs["web-2"])

    assert again == attrs.evolve(jobs["web-2"], group="web-2")
