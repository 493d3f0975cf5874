"""What a probe is: something that a program inside tries, and what must become of it.

A probe that can't fail proves nothing. So each names the wall that is in its way, and a way to run
without that wall, where it has to get through.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

THROUGH = "through"  # the verdict on a probe that got what it was after

# Where a probe is run.
CONTAINER = "container"
NAMESPACES = "namespaces"  # of unshare(1): what is left of a container without the other walls
HOST = "host"  # a process like any other

ROOT, USER = "root", "user"  # who it is inside

Facts = Mapping[str, str]  # where things are that it is after


class NothingError(Exception):
    """A probe was refused nothing, and yet got at nothing; says what it saw instead."""


class Wall(NamedTuple):
    """What is in the way of a probe, and a way to do without.

    Attributes:
        name: In a few words.
        away: How it is taken away, in a few words.
        options: Of `mocker run`, by which it is taken away.
        place: Where else the probe is run then.
        facts: What is elsewhere then.
        needs_root: Whether only root can do without.
        whom: Who gets through then. Where plain Unix rights hold a user up all the same, it is root
            inside alone, and nobody else is tried.
    """

    name: str
    away: str
    options: tuple[str, ...] = ()
    place: str = CONTAINER
    facts: Mapping[str, str] = {}
    needs_root: bool = False
    whom: tuple[str, ...] = (ROOT,)


class Probe(NamedTuple):
    """Something to try.

    Attributes:
        name: Its group, and what it is about.
        attack: What is called inside: returns if it gets through, else raises OSError or
            NothingError.
        wall: What is in its way.
        denied: The verdicts as root inside that show the wall; none if it isn't tried.
        denied_user: The same for a user inside.
        then: The verdicts without the wall.
        options: Of `mocker run`, with the wall.
    """

    name: str
    attack: Callable[[Facts], object]
    wall: Wall
    denied: tuple[str, ...]
    denied_user: tuple[str, ...]
    then: tuple[str, ...]
    options: tuple[str, ...]

    @property
    def tries(self) -> str:
        """What it tries, in a few words."""
        return (self.attack.__doc__ or "").rstrip(".")

    def denied_to(self, whom: str) -> tuple[str, ...]:
        """Return the verdicts that show the wall."""
        return self.denied if whom == ROOT else self.denied_user


PROBES: dict[str, Probe] = {}

_FREE = ("--cap-add", "all", "--seccomp", "unconfined", "--allow-new-privs")

BARE = Wall("the init", "namespaces alone", place=NAMESPACES, whom=(ROOT, USER))
LOCKED_MOUNTS = Wall("mounts are locked", "namespaces alone", place=NAMESPACES)
OWN_PROCESSES = Wall("PID namespace", "no container", place=HOST, whom=(ROOT, USER))
DESCRIPTORS = Wall("descriptors are closed", "no container", place=HOST, whom=(ROOT, USER))
CAPABILITIES = Wall("capabilities", "--cap-add all", ("--cap-add", "all"))
ROOT_CAPABILITIES = Wall(
    "seccomp, capabilities",
    "--seccomp unconfined --cap-add all --userns host",
    (*_FREE, "--userns", "host"),
    needs_root=True,
)
OTHER_NAMESPACE = Wall("a user namespace below", "namespaces alone", place=NAMESPACES)
NOT_ROOT = Wall("user namespace", "no container", place=HOST, needs_root=True)
SECCOMP = Wall("seccomp", "--seccomp unconfined", ("--seccomp", "unconfined"), whom=(ROOT, USER))
SECCOMP_AND_CAPABILITIES = Wall(
    "seccomp, capabilities", "--seccomp unconfined --cap-add all", _FREE
)
LOCK_OPTIONS = _FREE
NETWORK = Wall("network namespace", "--network host", ("--network", "host"), whom=(ROOT, USER))
LIMIT = Wall("a limit", "without it", whom=(ROOT, USER))


def probe(
    name: str,
    wall: Wall,
    denied: str,
    user: str | None = None,
    then: str = THROUGH,
    options: tuple[str, ...] = (),
) -> Callable[[Callable[[Facts], object]], Callable[[Facts], object]]:
    """Enter a function into the table of probes; its docstring says what it tries.

    Args:
        name: A letter for its group, and what it is about.
        wall: What is in its way.
        denied: The verdicts that show the wall, as names of errno or what NothingError says, each
            behind a "|"; "" if root inside is not to try.
        user: The same for a user inside; None if there is no difference, or the wall says that no
            user is to try.
        then: The same for a run without the wall.
        options: Of `mocker run`, with the wall.
    """

    def enter(attack: Callable[[Facts], object]) -> Callable[[Facts], object]:
        alike = denied if USER in wall.whom else ""
        for_user = alike if user is None else user
        PROBES[name] = Probe(
            name, attack, wall, _split(denied), _split(for_user), _split(then), options
        )
        return attack

    return enter


def _split(verdicts: str) -> tuple[str, ...]:
    return tuple(verdict for verdict in verdicts.split("|") if verdict)
