"""Which jobs are meant: names, the name of all replicas, shell patterns, or "all"."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ..jobs import Job
from .problems import RequestError

ALL = "all"


def find_jobs(jobs: Mapping[str, Job], patterns: Iterable[str]) -> list[Job]:
    """Return the jobs that are meant, each once, in the order of the file.

    Raises:
        RequestError: A name or a pattern means none.
    """
    meant = set[str]()
    for pattern in patterns:
        found = {name for name, job in jobs.items() if _means(pattern, name, job.config.group)}
        if not found and pattern != ALL:
            near = get_close_matches(pattern, jobs, 1)
            hint = f"; is {near[0]!r} meant?" if near else ""
            raise RequestError("no-such-job", 404, f"there is no job {pattern!r}{hint}", [pattern])
        meant |= found
    return [job for name, job in jobs.items() if name in meant]


def _means(pattern: str, name: str, group: str) -> bool:
    return pattern in {ALL, name, group} or fnmatchcase(name, pattern)
