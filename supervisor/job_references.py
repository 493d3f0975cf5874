"""What the jobs of a file say of each other: dependencies, and whose network they share.

The file's names stand for entries; a job waits for all replicas of an entry.
"""

from collections.abc import Iterator, Mapping

import attrs

from .config import JobConfig
from .dependencies import find_cycles
from .mistakes import MistakeError, Mistakes, Place, find_job_place, suggest

Entries = Mapping[str, tuple[JobConfig, ...]]

_NETWORK = "job:"


class _Directory:
    """Which jobs a name of the file stands for."""

    def __init__(self, entries: Entries, names: frozenset[str], mistakes: Mistakes) -> None:
        self.entries = entries
        self._mistakes = mistakes
        self.jobs = {job.name: job for replicas in entries.values() for job in replicas}
        self._known = names | set(self.jobs)

    def find(self, name: str) -> tuple[JobConfig, ...]:
        """Return all replicas of an entry, or one; none if the entry cannot be read.

        Raises:
            MistakeError: There is no such name.
        """
        if name not in self._known and not self._mistakes.may_have(name):
            raise MistakeError(f"there is no job {name!r}{suggest(name, self._known)}")
        return self.entries.get(name) or ((self.jobs[name],) if name in self.jobs else ())

    def find_network(self, name: str) -> str:
        """Return the name of the one job whose network is meant.

        Raises:
            MistakeError: There is none, or more than one, or it has no network of its own.
        """
        found = self.find(name)
        if len(found) > 1:
            raise MistakeError(f"must name one replica, such as 'job:{found[0].name}'")
        for job in found:
            if not job.container.isolate or job.container.network != "none":
                raise MistakeError(f"must name a job with a network of its own; {name!r} has none")
        return found[0].name if found else name


def resolve_references(
    entries: Entries, names: frozenset[str], mistakes: Mistakes
) -> dict[str, JobConfig]:
    """Return all jobs by name, what they say of entries replaced by the names of replicas.

    Args:
        entries: The replicas of each entry.
        names: Of all entries of the file.
        mistakes: Grows by names that are not there, names of two jobs, and cycles.
    """
    directory = _Directory(entries, names, mistakes)
    for name, replicas in entries.items():
        for job in replicas:
            if job.name in names and job.name != name:
                text = f"has a replica with the name of another job, {job.name!r}"
                Place(mistakes, ("jobs", name)).refuse(text)
    _check_cycles(entries, directory.jobs, mistakes)
    return {
        job.name: job
        for replicas in entries.values()
        for job in _resolve(replicas, directory, mistakes)
    }


def _resolve(
    replicas: tuple[JobConfig, ...], directory: _Directory, mistakes: Mistakes
) -> Iterator[JobConfig]:
    """Yield the replicas of an entry; what they depend on is one table, however many they are."""
    group, network = replicas[0].group, replicas[0].container.network
    depends_on: dict[str, str] = {}
    for name, condition in replicas[0].depends_on.items():
        try:
            found = directory.find(name)
        except MistakeError as error:
            find_job_place(mistakes, group, "depends_on").at(name).refuse(str(error))
        else:
            depends_on |= dict.fromkeys((job.name for job in found), condition)
    if network.startswith(_NETWORK):
        try:
            owner = directory.find_network(network.removeprefix(_NETWORK))
        except MistakeError as error:
            find_job_place(mistakes, group, "network").refuse(str(error))
        else:
            network = f"{_NETWORK}{owner}"
            depends_on.setdefault(owner, "started")  # before that there is no network to share
    for job in replicas:
        container = attrs.evolve(job.container, network=network)
        yield attrs.evolve(job, container=container, depends_on=depends_on)


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
