"""How much of the machine a container may take, as a value: what a cgroup is to enforce.

Apart from `cgroups`, which writes it down for the kernel, because each spec may have one.

Source: cgroups(7), the kernel's Documentation/admin-guide/cgroup-v2.rst; docker run(1) for the
least memory and the least share of a CPU.
"""

from .errors import SpecError

LEAST_MEMORY = 6 * 2**20  # bytes; with less, nothing would start
MOST_MEMORY = 2**63 - 4096  # bytes; what the kernel counts in pages of a signed number
LEAST_CPUS, MOST_CPUS = 0.01, 8192.0  # a millisecond of the period; as many as Linux can have
LEAST_PIDS, MOST_PIDS = 2, 2**22  # the init and the command; PID_MAX_LIMIT of the kernel
LEAST_WEIGHT, MOST_WEIGHT = 1, 10000

# What enforces each; in the alphabetical order of the controllers, in which they are told.
CONTROLLERS = {"cpus": "cpu", "io_weight": "io", "memory": "memory", "pids": "pids"}


class Limits:
    """What the processes of a container may take together, its init included.

    Without any, a container has a cgroup all the same: it can be frozen, and is accounted for.

    Attributes:
        memory: Bytes, the page cache and what is in a tmpfs included; nothing of it is swapped.
        cpus: How many CPUs' worth of time; 1.5 is 150 ms of each 100 ms.
        pids: How many processes and threads at a time, its init included.
        io_weight: Its share of what block devices can do, relative to others, who have 100.

    Raises:
        SpecError: A number that no host could carry out.

    Source: cgroups(7), docker run(1) --memory, --cpus and --pids-limit.
    """

    __slots__ = ("cpus", "io_weight", "memory", "pids")

    def __init__(
        self,
        *,
        memory: int | None = None,
        cpus: float | None = None,
        pids: int | None = None,
        io_weight: int | None = None,
    ) -> None:
        _check(memory, LEAST_MEMORY, MOST_MEMORY, "memory", " bytes")
        _check(cpus, LEAST_CPUS, MOST_CPUS, "cpus")
        _check(pids, LEAST_PIDS, MOST_PIDS, "pids")
        _check(io_weight, LEAST_WEIGHT, MOST_WEIGHT, "io_weight")
        self.memory, self.cpus, self.pids, self.io_weight = memory, cpus, pids, io_weight

    def __str__(self) -> str:
        found = ((name, getattr(self, name)) for name in sorted(self.__slots__))
        told = [f"{name} {limit}" for name, limit in found if limit is not None]
        return ", ".join(told) or "no limits"

    @property
    def controllers(self) -> tuple[str, ...]:
        """Which controllers of cgroup v2 enforce them, in alphabetical order."""
        return tuple(
            name for limit, name in CONTROLLERS.items() if getattr(self, limit) is not None
        )


def _check(value: float | None, least: float, most: float, what: str, unit: str = "") -> None:
    if value is not None and not least <= value <= most:
        raise SpecError(f"{what} must be {least} to {most}{unit}, not {value}")
