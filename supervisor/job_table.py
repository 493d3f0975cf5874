"""A job as a file would say it, with all that goes without saying: the keys of `job_keys`.

Read from a file, it means the same job, but that a replica is a job of its own there.
"""

import signal
from collections.abc import Iterator

import attrs

from .config import ContainerConfig, JobConfig, Probe, SinkConfig
from .container_keys import ARE_FOR_THE_HOST, NEED_ISOLATION

_UNLIMITED = -1


def render_job(job: JobConfig) -> dict[str, object]:
    """Return the keys of a job and their values; those that stand for nothing are left out."""
    return {key: value for key, value in _list_keys(job) if value is not None}


def _list_keys(job: JobConfig) -> Iterator[tuple[str, object]]:
    yield "type", job.kind
    unused = ARE_FOR_THE_HOST if job.container.isolate else NEED_ISOLATION
    for key, value in _list_container_keys(job.container):
        if key not in unused:
            yield key, value
    yield "depends_on", dict(job.depends_on)
    yield "restart", job.restart
    yield "backoff", _render_fields(job.backoff)
    yield "give_up", None if job.give_up is None else _render_fields(job.give_up)
    yield "success_codes", sorted(job.success_codes)
    yield "permanent_codes", sorted(job.permanent_codes)
    yield "start_timeout", _render_number(job.start_timeout)
    yield "timeout", None if job.timeout is None else _render_number(job.timeout)
    yield "stop_signal", _render_signal(job.stop_signal)
    yield "grace", _render_number(job.grace)
    yield "critical", job.critical
    yield "ready", _render_probe(job.ready)
    yield "alive", _render_probe(job.alive)
    yield "schedule", job.schedule
    yield "overlap", None if job.schedule is None else job.overlap
    yield "run_on_start", None if job.schedule is None else job.run_on_start
    yield "stdin", job.stdin
    yield "tty", job.tty
    for channel, sinks in job.channels.items():
        yield channel, _render_sinks(sinks)
    yield "on_full", job.on_full
    yield "max_line", job.max_line


def _list_container_keys(container: ContainerConfig) -> Iterator[tuple[str, object]]:
    yield "command", list(container.argv)
    yield "isolate", container.isolate
    yield "rootfs", container.rootfs
    yield "rootfs_mode", container.rootfs_mode
    yield "read_only", container.read_only
    yield "volumes", [":".join((s, d, "ro")[: 2 + ro]) for s, d, ro in container.volumes]
    yield "tmpfs", [_render_tmpfs(*values) for values in container.tmpfs]
    yield "env", dict(container.env)
    yield "workdir", container.workdir
    yield "user", container.user
    yield "hostname", container.hostname
    yield "network", container.network
    yield "userns", container.userns
    yield "cap_add", list(container.cap_add)
    yield "cap_drop", list(container.cap_drop)
    yield "allow_new_privs", container.allow_new_privs
    yield "seccomp", None if container.seccomp is None else container.seccomp[0]
    yield "umask", f"{container.umask:03o}"
    yield "nice", container.nice
    yield "oom_score_adj", container.oom_score_adj
    yield "cpu_affinity", None if container.cpu_affinity is None else list(container.cpu_affinity)
    limits = {name: ":".join(map(_render_limit, both)) for name, *both in container.rlimits}
    yield "ulimits", limits
    yield "landlock", container.landlock
    yield "writable", None if container.writable is None else list(container.writable)
    yield "memory", container.memory
    yield "cpus", None if container.cpus is None else _render_number(container.cpus)
    yield "pids", container.pids
    yield "io_weight", container.io_weight


def _render_fields(values: attrs.AttrsInstance) -> dict[str, object]:
    return {key: _render_number(value) for key, value in attrs.asdict(values).items()}


def _render_number(number: float) -> float | int:
    return int(number) if number == int(number) else number


def _render_signal(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:  # one of those in real time, of which two have names
        return str(number)


def _render_probe(probe: Probe | None) -> dict[str, object] | None:
    if probe is None:
        return None
    target = list(probe.target) if isinstance(probe.target, tuple) else probe.target
    return {
        probe.kind: True if target is None else target,
        "interval": _render_number(probe.interval),
        "timeout": _render_number(probe.timeout),
        "failures": probe.failures,
    }


def _render_tmpfs(destination: str, size: int | None, mode: int) -> str:
    options = [] if size is None else [f"size={size}"]
    return f"{destination}:{','.join([*options, f'mode={mode:o}'])}"


def _render_limit(limit: int) -> str:
    return "unlimited" if limit == _UNLIMITED else str(limit)


def _render_sinks(sinks: tuple[SinkConfig, ...]) -> object:
    rendered = [_render_sink(sink) for sink in sinks] or ["null"]
    return rendered[0] if len(rendered) == 1 else rendered


def _render_sink(sink: SinkConfig) -> object:
    if sink.kind != "file":
        return sink.kind
    return {
        "file": sink.path,
        "format": sink.format,
        "max_size": sink.max_size,
        "backups": sink.backups,
        "compress": sink.compress,
    }
