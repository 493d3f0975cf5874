"""Run a command in a container: namespaces, a root of its own, an init, nothing left behind.

The mechanism without the policy: synchronous, standard library only, usable from any program.
Importing it is part of every start, so nothing here may import typing, dataclasses or asyncio.
"""

from .busybox import default_rootfs
from .container import Container
from .errors import CommandError, ForkServerError, IsolationError, SetupError, SpecError
from .exit_status import ExitStatus
from .limits import Limits
from .plan import describe
from .requests import Process, Reply, receive_descriptors
from .spawning import run, spawn
from .spec import DEFAULT_HOSTNAME, ContainerSpec, Rlimit, Tmpfs, Volume

TYPE_CHECKING = False  # known to type checkers
if TYPE_CHECKING:
    from .forkserver import ForkServer
    from .host import HostCheck, check_host

__all__ = [
    "DEFAULT_HOSTNAME",
    "CommandError",
    "Container",
    "ContainerSpec",
    "ExitStatus",
    "ForkServer",
    "ForkServerError",
    "HostCheck",
    "IsolationError",
    "Limits",
    "Process",
    "Reply",
    "Rlimit",
    "SetupError",
    "SpecError",
    "Tmpfs",
    "Volume",
    "check_host",
    "default_rootfs",
    "describe",
    "receive_descriptors",
    "run",
    "spawn",
]


def __getattr__(name: str) -> object:
    """Load what a single container does without: that takes a tenth of loading all of it."""
    if name == "ForkServer":
        from .forkserver import ForkServer

        return ForkServer
    if name in {"HostCheck", "check_host"}:
        from . import host

        return getattr(host, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
