"""Run a command in a container: namespaces, a root of its own, an init, nothing left behind.

The mechanism without the policy: synchronous, standard library only, usable from any program.
Importing it is part of every start, so nothing here may import typing, dataclasses or asyncio.
"""

from .busybox import default_rootfs
from .container import Container
from .errors import CommandError, ForkServerError, IsolationError, SetupError, SpecError
from .exit_status import ExitStatus
from .forkserver import ForkServer
from .host import HostCheck, check_host
from .limits import Limits
from .plan import describe
from .requests import Process, Reply, receive_descriptors
from .spawning import run, spawn
from .spec import DEFAULT_HOSTNAME, ContainerSpec, Rlimit, Tmpfs, Volume

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
