"""What Prometheus reads of a supervisor, as its own parser understands it."""

from collections.abc import Iterator

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from mocker.isolation import ExitStatus
from mocker.isolation.cgroups import Usage
from mocker.supervisor.config import JobConfig, SupervisorConfig
from mocker.supervisor.control.figures import Seen
from mocker.supervisor.control.metrics import render_metrics
from mocker.supervisor.control.usage import Use
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.supervise import Supervisor
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.control.asking import open_asked
from tests.supervisor.job_world import configure, make_means, reach, wait_for_line

pytestmark = [requires_user_namespaces, requires_busybox]

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
SLEEP = "exec sleep 1000"


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


def make_supervisor(means: Means, *jobs: JobConfig, path: str = "/jobs.toml") -> Supervisor:
    """Return a supervisor that does not run."""
    config = SupervisorConfig(path=path, name="demo", jobs={job.name: job for job in jobs})

    async def abandon(_: int) -> None:
        pass

    return Supervisor(config, means, lambda: config, abandon)


def parse(text: str) -> Samples:
    """Return the samples, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def find(samples: Samples, metric: str, /, **labels: str) -> list[float]:
    """Return the numbers of a metric that have these labels."""
    return [
        number
        for (name, found), number in samples.items()
        if name == f"mocker_{metric}" and labels.items() <= dict(found).items()
    ]


async def test_job_that_runs_is_up(means: Means) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        now = trio.current_time()
        samples = parse(render_metrics(asked.supervisor, now + 5, {}))

    assert find(samples, "job_up", job="web", group="web") == [1]
    assert find(samples, "job_state", job="web", state="RUNNING") == [1]
    assert sum(find(samples, "job_state", job="web")) == 1
    assert find(samples, "job_uptime_seconds", job="web")[0] >= 5
    assert find(samples, "job_last_exit_code") == []
    assert find(samples, "job_starts_total", job="web") == [1]
    assert find(samples, "job_restarts_total", job="web") == [0]


async def test_job_that_has_ended_has_its_exit_code(means: Means) -> None:
    ended = configure("exit 3", name="web", restart="never")
    async with open_asked(means, ended, configure(SLEEP, name="db")) as asked:
        await reach(asked.supervisor.jobs["web"], State.EXITED)
        samples = parse(render_metrics(asked.supervisor, trio.current_time(), {}))

    assert find(samples, "job_up", job="web") == [0]
    assert find(samples, "job_last_exit_code", job="web") == [3]
    assert find(samples, "job_uptime_seconds", job="web") == []


async def test_signal_is_told_as_a_shell_does(means: Means) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        asked.supervisor.jobs["web"].status = ExitStatus(signal=9)
        samples = parse(render_metrics(asked.supervisor, trio.current_time(), {}))

    assert find(samples, "job_last_exit_code", job="web") == [137]


async def test_what_jobs_print_is_counted(means: Means) -> None:
    web = configure(f"echo one; echo two; {SLEEP}", **wait_for_line("two"))
    async with open_asked(means, web, configure(SLEEP, name="db")) as asked:
        samples = parse(render_metrics(asked.supervisor, trio.current_time(), {}))

    assert find(samples, "job_output_bytes_total", job="web") == [len("one\ntwo\n")]
    assert find(samples, "job_output_lines_total", job="web") == [2]
    assert find(samples, "job_output_lines_total", job="db") == [0]


async def test_times_that_a_job_has_missed_are_counted_if_it_has_a_schedule(means: Means) -> None:
    backup = configure(SLEEP, name="backup", kind="oneshot", schedule="@yearly")
    async with open_asked(means, configure(SLEEP), backup) as asked:
        asked.supervisor.jobs["backup"].skips = 2
        samples = parse(render_metrics(asked.supervisor, trio.current_time(), {}))

    assert find(samples, "job_skips_total", job="backup") == [2]
    assert find(samples, "job_skips_total", job="web") == []


async def test_what_was_seen_of_a_job_is_told(means: Means) -> None:
    async with open_asked(means, configure(SLEEP)) as asked:
        job = asked.supervisor.jobs["web"]
        assert job.pid is not None
        job.reports.oom_kills = 2  # of former runs
        usage = Usage(oom_kills=1, pressure={"cpu": 2.5})
        seen = {job.pid: Seen(Use(1.25, 4096, 3), 10.0, usage)}
        samples = parse(render_metrics(asked.supervisor, trio.current_time(), seen))

    assert find(samples, "job_cpu_seconds_total", job="web") == [1.25]
    assert find(samples, "job_memory_bytes", job="web") == [4096]
    assert find(samples, "job_processes", job="web") == [3]
    assert find(samples, "job_pressure_percent", job="web", resource="cpu") == [2.5]
    assert find(samples, "job_oom_kills_total", job="web") == [3]
    assert find(samples, "job_paused", job="web") == [0]


def test_labels_may_be_anything(means: Means) -> None:
    path = 'a\\b"c\nd,é="\\n'

    samples = parse(render_metrics(make_supervisor(means, path=path), 0.0, {}))

    assert find(samples, "supervisor_info", path=path, name="demo") == [1]
