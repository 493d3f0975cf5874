"""What jobs share, with a place for cgroups, in which nothing can be limited but all be frozen."""

from collections.abc import Iterator
from contextlib import contextmanager

from mocker.isolation.delegation import Delegation
from mocker.supervisor.runs import Means
from tests.cgroups import own_tree
from tests.supervisor.job_world import make_means


@contextmanager
def make_means_with_cgroups() -> Iterator[Means]:
    """Make what jobs share; each of them gets a cgroup."""
    with own_tree() as tree, make_means() as means:
        means.cgroups._are_everybodys = True
        means.cgroups._found = Delegation(str(tree), ())
        yield means
