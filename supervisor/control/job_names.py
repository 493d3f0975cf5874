"""Which jobs are meant: names, the name of all replicas, shell patterns, or "all"."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ..jobs import Job
from .problems import RequestError

ALL = "all"
_WILD = frozenset("*?[")
_MOST_PATTERNS = 100  # each is compared with each name, while everything else waits
_MOST_SHOWN = 100  # characters of a name that may be anything


def find_jobs(jobs: Mapping[str, Job], patterns: Iterable[str]) -> list[Job]:
    """Return the jobs that are meant, each once, in the order of the file.

    Raises:
        RequestError: A name or a pattern means none, or there are too many patterns.
    """
    wanted = dict.fromkeys(patterns)
    if sum(not _WILD.isdisjoint(pattern) for pattern in wanted) > _MOST_PATTERNS:
        raise RequestError("bad-request", 400, f"there are more than {_MOST_PATTERNS} patterns")
    groups: dict[str, list[str]] = {}
    for name, job in jobs.items():
        groups.setdefault(job.config.group, []).append(name)
    meant = set[str]()
    for pattern in wanted:
        if pattern == ALL:
            meant.update(jobs)
            continue
        found = set(groups.get(pattern, ())) | ({pattern} & jobs.keys())
        if not _WILD.isdisjoint(pattern):
            found |= {name for name in jobs if fnmatchcase(name, pattern)}
        if not found:
            raise _refuse(pattern, jobs)
        meant |= found
    return [job for name, job in jobs.items() if name in meant]


def _refuse(pattern: str, names: Iterable[str]) -> RequestError:
    shown = pattern if len(pattern) <= _MOST_SHOWN else f"{pattern[:_MOST_SHOWN]}…"
    near = get_close_matches(shown, names, 1)
    hint = f"; is {near[0]!r} meant?" if near else ""
    return RequestError("no-such-job", 404, f"there is no job {shown!r}{hint}", [shown])
