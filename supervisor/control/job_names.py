"""Which jobs are meant: names, the name of all replicas, shell patterns, or "all"."""

import re
from collections.abc import Callable, Iterable, Mapping, Set
from difflib import get_close_matches
from fnmatch import translate

from ..jobs import Job
from .problems import RequestError

ALL = "all"
_OF_GROUP = ":*"  # behind the name of a group: as supervisorctl names all that is in it
_WILD = frozenset("*?[")
_MOST_PATTERNS = 100  # each is compared with each name, while everything else waits
_MOST_LENGTH = 256  # characters of a pattern; a name has fewer, and what is made of one is big
_MOST_SHOWN = 100  # characters of a name that may be anything


def find_jobs(jobs: Mapping[str, Job], patterns: Iterable[str]) -> list[Job]:
    """Return the jobs that are meant, each once, in the order of the file.

    Raises:
        RequestError: A name or a pattern means none, or there are too many patterns.
    """
    wanted = dict.fromkeys(patterns)
    wild = [pattern for pattern in wanted if not _WILD.isdisjoint(pattern)]
    if len(wild) > _MOST_PATTERNS:
        raise RequestError("bad-request", 400, f"there are more than {_MOST_PATTERNS} patterns")
    if any(len(pattern) > _MOST_LENGTH for pattern in wild):
        text = f"a pattern has more than {_MOST_LENGTH} characters"
        raise RequestError("bad-request", 400, text)
    groups: dict[str, list[str]] = {}
    for name, job in jobs.items():
        groups.setdefault(job.config.group, []).append(name)
    meant = set[str]()
    for pattern in wanted:
        if pattern == ALL:
            meant.update(jobs)
            continue
        found = set(groups.get(pattern.removesuffix(_OF_GROUP), ())) | ({pattern} & jobs.keys())
        if not _WILD.isdisjoint(pattern):
            matches = _compile(pattern)
            found |= {name for name in jobs if matches(name)}
        if not found:
            raise _refuse(pattern, jobs)
        meant |= found
    return [job for name, job in jobs.items() if name in meant]


def is_meant(jobs: Mapping[str, Job], patterns: Set[str], name: str) -> bool:
    """Tell whether a job is meant by what `find_jobs` took, though it may have been added since."""
    if name not in jobs:
        return False
    group = jobs[name].config.group
    if patterns & {ALL, name, group, group + _OF_GROUP}:
        return True
    return any(_compile(pattern)(name) for pattern in patterns if not _WILD.isdisjoint(pattern))


def _compile(pattern: str) -> Callable[[str], object]:
    """Return what tells whether a name fits; `fnmatch` would keep tens of thousands of them."""
    return re.compile(translate(pattern)).fullmatch


def _refuse(pattern: str, names: Iterable[str]) -> RequestError:
    shown = pattern if len(pattern) <= _MOST_SHOWN else f"{pattern[:_MOST_SHOWN]}…"
    near = get_close_matches(shown, names, 1)
    hint = f"; is {near[0]!r} meant?" if near else ""
    return RequestError("no-such-job", 404, f"there is no job {shown!r}{hint}", [shown])
