"""What the jobs of a file say of each other: dependencies, and whose network they share.

The file's names stand for entries; a job waits for all replicas of an entry.
"""

from collections.abc import Iterator, Mapping

import attrs

from .config import JobConfig
from .dependencies import find_cycles
from .mistakes import Mistakes, Place, find_job_place, suggest

Entries = Mapping[str, tuple[JobConfig, ...]]

_NETWORK = "job:"


def resolve_references(
    entries: Entries, names: frozenset[str], mistakes: Mistakes
) -> dict[str, JobConfig]:
    """Return all jobs by name, what they say of entries replaced by the names of replicas.

    Args:
        entries: The replicas of each entry.
        names: Of all entries of the file.
        mistakes: Grows by names that are not there, names of two jobs, and cycles.
    """
    jobs: dict[str, JobConfig] = {}
    for name, replicas in entries.items():
        for job in replicas:
            if job.name in names and job.name != name:
                text = f"has a replica with the name of another job, {job.name!r}"
                Place(mistakes, ("jobs", name)).refuse(text)
            jobs[job.name] = job
    _check_cycles(entries, jobs, mistakes)
    return {job.name: _resolve(job, entries, jobs, names, mistakes) for job in jobs.values()}


def _resolve(
    job: JobConfig,
    entries: Entries,
    jobs: Mapping[str, JobConfig],
    names: frozenset[str],
    mistakes: Mistakes,
) -> JobConfig:
    depends_on: dict[str, str] = {}
    for name, condition in job.depends_on.items():
        if name not in names and name not in jobs:
            text = f"there is no job {name!r}{suggest(name, names | set(jobs))}"
            find_job_place(mistakes, job.group, "depends_on").at(name).refuse(text)
        depends_on |= {job.name: condition for job in _find_jobs(name, entries, jobs)}
    container = job.container
    if container.network.startswith(_NETWORK):
        name = container.network.removeprefix(_NETWORK)
        try:
            network = _find_network(name, entries, jobs, names)
        except ValueError as error:
            find_job_place(mistakes, job.group, "network").refuse(str(error))
        else:
            container = attrs.evolve(container, network=f"{_NETWORK}{network}")
            depends_on.setdefault(network, "started")  # before that there is no network to share
    return attrs.evolve(job, container=container, depends_on=depends_on)


def _find_network(
    name: str, entries: Entries, jobs: Mapping[str, JobConfig], names: frozenset[str]
) -> str:
    """Return the name of the one job whose network is meant."""
    if name not in names and name not in jobs:
        raise ValueError(f"there is no job {name!r}{suggest(name, names | set(jobs))}")
    found = _find_jobs(name, entries, jobs)
    if len(found) > 1:
        raise ValueError(f"must name one replica, such as 'job:{found[0].name}'")
    for job in found:
        if not job.container.isolate or job.container.network != "none":
            raise ValueError(f"must name a job with a network of its own; {name!r} has none")
    return found[0].name if found else name


def _find_jobs(name: str, entries: Entries, jobs: Mapping[str, JobConfig]) -> tuple[JobConfig, ...]:
    return entries.get(name) or ((jobs[name],) if name in jobs else ())


def _check_cycles(entries: Entries, jobs: Mapping[str, JobConfig], mistakes: Mistakes) -> None:
    graph = {name: list(_find_needed(replicas, jobs)) for name, replicas in entries.items()}
    graph = {name: [n for n in needed if n in entries] for name, needed in graph.items()}
    for cycle in find_cycles(graph):
        first = entries[cycle[0]][0]
        named = {jobs[name].group if name in jobs else name for name in first.depends_on}
        key = "depends_on" if cycle[1] in named else "network"
        text = f"must have no cycle, and has {' -> '.join(cycle)}"
        find_job_place(mistakes, first.group, key).refuse(text)


def _find_needed(replicas: tuple[JobConfig, ...], jobs: Mapping[str, JobConfig]) -> Iterator[str]:
    """Yield the entries that an entry depends on."""
    network = replicas[0].container.network
    shared = [network.removeprefix(_NETWORK)] if network.startswith(_NETWORK) else []
    for name in (*replicas[0].depends_on, *shared):
        yield jobs[name].group if name in jobs else name
