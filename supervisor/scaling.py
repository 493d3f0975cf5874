"""Other numbers of replicas than a file has, as somebody asked for them while it runs.

A replica more is like the first one but for its name; a replica less is the one with the highest
number. Those that are there before and after do not change. It lasts until the file says something
else of the entry: a reload of a file that has the same of it keeps the number.
"""

from collections.abc import Iterator, Mapping, Sequence, Set

import attrs

from mocker.isolation import SpecError

from .config import JobConfig, SupervisorConfig

_NETWORK = "job:"


class ScaleError(Exception):
    """There cannot be so many replicas.

    Attributes:
        jobs: Those that it is about.
        is_unknown: Whether the reason is that there is no such entry.
    """

    def __init__(self, text: str, *jobs: str, is_unknown: bool = False) -> None:
        super().__init__(text)
        self.jobs, self.is_unknown = jobs, is_unknown


@attrs.frozen
class Scaled:
    """What a file says, with other numbers of replicas.

    Attributes:
        filed: What it says.
        counts: The numbers that are others, by entry.
        config: Both together.
    """

    filed: SupervisorConfig
    counts: Mapping[str, int]
    config: SupervisorConfig


def scale_jobs(filed: SupervisorConfig, counts: Mapping[str, int]) -> Scaled:
    """Return what a file says, with these numbers of replicas.

    Raises:
        ScaleError: It cannot be so.
    """
    old = {group: _list_replicas(filed, group) for group in counts}
    new = {group: _make_replicas(filed, old[group], group, counts[group]) for group in counts}
    jobs: dict[str, JobConfig] = {}
    for job in filed.jobs.values():
        for one in new.get(job.group, (job,)):
            jobs[one.name] = one
    for group in counts:
        before, after = ([job.name for job in replicas[group]] for replicas in (old, new))
        gone = frozenset(before) - frozenset(after)
        jobs = {name: _tie(job, before, after, gone) for name, job in jobs.items()}
    return Scaled(filed, counts, attrs.evolve(filed, jobs=jobs))


def follow_file(scaled: Scaled, filed: SupervisorConfig) -> Scaled:
    """Return what a new file says, with the numbers of those entries that it has as before."""
    kept = {
        group: count
        for group, count in scaled.counts.items()
        if _list_replicas(scaled.filed, group) == _list_replicas(filed, group)
    }
    try:
        return scale_jobs(filed, kept)
    except ScaleError:  # another entry is in the way now
        return scale_jobs(filed, {})


def _list_replicas(config: SupervisorConfig, group: str) -> list[JobConfig]:
    return [job for job in config.jobs.values() if job.group == group]


def _make_replicas(
    filed: SupervisorConfig, replicas: Sequence[JobConfig], group: str, count: int
) -> list[JobConfig]:
    if not replicas:
        raise ScaleError(f"there is no job {group!r}", group, is_unknown=True)
    if replicas[0].name == group:
        text = f"cannot scale {group}: it is one job, as its entry says no 'replicas'"
        raise ScaleError(text, group)
    made = list(replicas[:count])
    for number in range(len(made) + 1, count + 1):
        name = f"{group}-{number}"
        if name in filed.jobs:
            raise ScaleError(f"cannot scale {group}: {name} is the name of another job", name)
        made.append(_rename(replicas[0], name))
    try:
        made[-1].make_spec()  # whose host name is the longest
    except SpecError as error:
        raise ScaleError(f"cannot scale {group}: {error}", group) from None
    return made


def _rename(job: JobConfig, name: str) -> JobConfig:
    container = job.container
    if container.hostname == job.name:
        container = attrs.evolve(container, hostname=name)
    return attrs.evolve(job, name=name, container=container)


def _tie(job: JobConfig, before: Sequence[str], after: Sequence[str], gone: Set[str]) -> JobConfig:
    """Return a job that depends on all replicas, if it did, and else on none that is gone."""
    network = job.container.network.removeprefix(_NETWORK)
    if network in gone:
        raise ScaleError(f"cannot remove {network}: {job.name} shares its network", job.name)
    needed = job.depends_on
    if not needed or not any(name in needed for name in before):
        return job
    if all(name in needed for name in before):
        return attrs.evolve(job, depends_on=dict(_replace(needed, before, after)))
    if lost := sorted(gone & needed.keys()):
        raise ScaleError(f"cannot remove {lost[0]}: {job.name} depends on it", job.name)
    return job


def _replace(
    needed: Mapping[str, str], before: Sequence[str], after: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for name, condition in needed.items():
        if name == before[0]:
            for one in after:
                yield one, needed.get(one, condition)
        elif name not in before:
            yield name, condition
