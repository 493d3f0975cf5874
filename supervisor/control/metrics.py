r"""The figures of all jobs for Prometheus, in its text format 0.0.4.

A line each, `name{label="value"} number`, and before those of one name what it is. In values of
labels `\`, `"` and the newline are escaped.

Source: prometheus.io/docs/instrumenting/exposition_formats.
"""

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version

from ..jobs import Job
from ..lifecycle import State
from ..start_counts import StartCounts
from ..supervise import Supervisor
from .figures import Seen

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

# Each line's labels, as text, and its number.
Samples = Iterable[tuple[str, float]]


def render_metrics(supervisor: Supervisor, now: float, seen: Mapping[int, Seen]) -> str:
    """Return what Prometheus reads.

    Args:
        supervisor: Whose jobs.
        now: In trio's time.
        seen: What was seen of them, by the pids of their inits.
    """
    config = supervisor.config
    me = {"name": config.name, "path": config.path, "version": version("mocker-supervise")}
    # Rendered once: there may be thousands of jobs, and a dozen lines of each.
    jobs = {
        _render_labels({"job": job.config.name, "group": job.config.group}): job
        for job in supervisor.jobs.values()
    }
    parts = [
        _render("supervisor_info", "gauge", "The one that answers.", [(_render_labels(me), 1)]),
        *_render_gauges(jobs, now),
        *_render_use({labels: (job, _find_seen(job, seen)) for labels, job in jobs.items()}),
        *_render_counters(jobs, supervisor.start_counts),
    ]
    return "".join(parts)


def _render(name: str, kind: str, text: str, samples: Samples) -> str:
    lines = [f"mocker_{name}{{{labels}}} {number}\n" for labels, number in samples]
    return f"# HELP mocker_{name} {text}\n# TYPE mocker_{name} {kind}\n{''.join(lines)}"


def _render_labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{key}="{value.translate(_ESCAPES)}"' for key, value in labels.items())


def _render_gauges(jobs: Mapping[str, Job], now: float) -> Iterator[str]:
    yield _render(
        "job_state",
        "gauge",
        "1 for the state that the job is in, and 0 for each other one.",
        (
            (f'{labels},state="{state.value}"', int(job.life.state is state))
            for labels, job in jobs.items()
            for state in State
        ),
    )
    yield _render(
        "job_up",
        "gauge",
        "Whether the job runs and is ready.",
        ((labels, int(job.life.state is State.RUNNING)) for labels, job in jobs.items()),
    )
    yield _render(
        "job_paused",
        "gauge",
        "Whether the job is paused.",
        ((labels, int(job.is_paused)) for labels, job in jobs.items()),
    )
    yield _render(
        "job_uptime_seconds",
        "gauge",
        "How long its present run has lasted.",
        (
            (labels, round(now - job.life.began, 3))
            for labels, job in jobs.items()
            if job.pid is not None and job.life.began is not None
        ),
    )
    yield _render(
        "job_last_exit_code",
        "gauge",
        "What its last run ended with; 128 + N if signal N ended it.",
        ((labels, job.status.shell_code) for labels, job in jobs.items() if job.status is not None),
    )


def _find_seen(job: Job, seen: Mapping[int, Seen]) -> Seen | None:
    return None if job.pid is None else seen.get(job.pid)


def _render_use(jobs: Mapping[str, tuple[Job, Seen | None]]) -> Iterator[str]:
    found = {labels: seen for labels, (_, seen) in jobs.items() if seen is not None}
    usages = {labels: seen.usage for labels, seen in found.items() if seen.usage is not None}
    yield _render(
        "job_cpu_seconds_total",
        "counter",
        "CPU time of its present run.",
        ((labels, round(seen.use.cpu_s, 2)) for labels, seen in found.items()),
    )
    yield _render(
        "job_memory_bytes",
        "gauge",
        "What its present run has in memory, as its cgroup counts, or else its processes do.",
        ((labels, seen.use.memory_bytes) for labels, seen in found.items()),
    )
    yield _render(
        "job_processes",
        "gauge",
        "Its processes; of a job that has a cgroup, its threads.",
        ((labels, seen.use.processes) for labels, seen in found.items()),
    )
    yield _render(
        "job_pressure_percent",
        "gauge",
        "For how much of the last ten seconds something of it had to wait for this.",
        (
            (f'{labels},resource="{resource}"', percent)
            for labels, usage in usages.items()
            for resource, percent in usage.pressure.items()
        ),
    )
    yield _render(
        "job_oom_kills_total",
        "counter",
        "Processes of its runs that the kernel killed for lack of memory.",
        (
            (labels, job.reports.oom_kills + (usages[labels].oom_kills if labels in usages else 0))
            for labels, (job, _) in jobs.items()
        ),
    )


def _render_counters(jobs: Mapping[str, Job], counts: StartCounts) -> Iterator[str]:
    found = {labels: counts.find(job) for labels, job in jobs.items()}
    yield _render(
        "job_starts_total",
        "counter",
        "Its runs.",
        ((labels, count.starts) for labels, count in found.items()),
    )
    yield _render(
        "job_restarts_total",
        "counter",
        "Those of its runs that nobody asked for.",
        ((labels, count.restarts) for labels, count in found.items()),
    )
    yield _render(
        "job_skips_total",
        "counter",
        "Times of its schedule that came while its former run went on.",
        ((labels, job.skips) for labels, job in jobs.items() if job.config.schedule is not None),
    )
    yield _render(
        "job_output_bytes_total",
        "counter",
        "Bytes that it printed and that passed through the supervisor.",
        ((labels, job.tally.bytes) for labels, job in jobs.items()),
    )
    yield _render(
        "job_output_lines_total",
        "counter",
        "Lines that it printed, in each second those of the first 16 MiB.",
        ((labels, job.tally.lines) for labels, job in jobs.items()),
    )
