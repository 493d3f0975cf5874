"""One cgroup of version 2: made with its limits, killed, frozen, read and removed as a whole.

A container is born in its cgroup (CLONE_INTO_CGROUP), so nothing of it ever runs outside. Where one
may be made is the business of `delegation`. Only who wants limits imports this.

Source: cgroups(7), the kernel's Documentation/admin-guide/cgroup-v2.rst.
"""

import os
import select
import time
from _collections_abc import Iterator
from errno import ENODEV, ENOENT, EOPNOTSUPP

from .errors import SetupError
from .limits import Limits

_PERIOD_US = 100_000  # of cpu.max, as docker has it
_SOFT = 10  # the part below memory.max in which the kernel reclaims, and slows who allocates
_SWAPS = "/proc/swaps"
_LAST_S = 1.0  # for what was killed to be gone
_WEIGHT, _BFQ_WEIGHT = "io.weight", "io.bfq.weight"
_OPTIONS = {_WEIGHT: "CONFIG_BLK_CGROUP_IOCOST", _BFQ_WEIGHT: "CONFIG_BFQ_GROUP_IOSCHED"}
_MOST_BFQ_WEIGHT = 1000  # BFQ_MAX_WEIGHT of the kernel
HOW_HEEDED = "no disk heeds it; enable one in io.cost.qos, or choose its scheduler bfq"
_CHUNK = 2**14  # bytes; more than any file that is read here
_GONE = {ENOENT, ENODEV}
_PRESSURES = ("cpu", "io", "memory")


def find_weights(cgroups: str = "/sys/fs/cgroup", disks: str = "/sys/block") -> list[str]:
    """Return the files by whose weights disks are shared; nothing if no disk heeds any.

    There may be two: each disk has its own way, and one that has both lets io.cost decide.

    Args:
        cgroups: Where the root of all cgroups is.
        disks: Where the kernel lists them.
    """
    found = [_WEIGHT] if b"enable=1" in _read_whole(f"{cgroups}/io.cost.qos") else []
    try:
        names = os.listdir(disks)
    except OSError:
        names = []
    if any(b"[bfq]" in _read_whole(f"{disks}/{name}/queue/scheduler") for name in names):
        found.append(_BFQ_WEIGHT)
    return found


def _read_whole(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def find_weight_obstacle(weight: int) -> str:
    """Return why disks would not be shared by a weight, and what to do; nothing if they would."""
    names = find_weights()
    if weight > _MOST_BFQ_WEIGHT and _BFQ_WEIGHT in names:
        return f"the scheduler bfq, which a disk has, takes {_MOST_BFQ_WEIGHT} at most"
    return "" if names else HOW_HEEDED


class Usage:
    """What the processes of a cgroup take, or have taken.

    Attributes:
        memory: Bytes at present; None if the kernel does not count them here.
        memory_peak: The most bytes so far; None before Linux 5.19, too.
        cpu_s: Seconds of CPU time so far.
        pids: Processes and threads at present; None if the kernel does not count them here.
        oom_kills: How many processes were killed for lack of memory.
        pressure: By "cpu", "io" and "memory", the share of the last ten seconds, in percent, in
            which something in it had to wait for that; nothing where the kernel does not tell.
    """

    __slots__ = ("cpu_s", "memory", "memory_peak", "oom_kills", "pids", "pressure")

    def __init__(
        self,
        *,
        memory: int | None = None,
        memory_peak: int | None = None,
        cpu_s: float = 0.0,
        pids: int | None = None,
        oom_kills: int = 0,
        pressure: dict[str, float] | None = None,
    ) -> None:
        self.memory, self.memory_peak, self.cpu_s = memory, memory_peak, cpu_s
        self.pids, self.oom_kills, self.pressure = pids, oom_kills, pressure or {}


class Cgroup:
    """A cgroup, from when it is made until it is removed.

    Attributes:
        path: Its directory.
        fd: That directory, open, to clone into; -1 once it is removed.
        limits: What it enforces.

    Source: cgroups(7).
    """

    __slots__ = ("_last", "fd", "limits", "path")

    def __init__(self, path: str, limits: Limits) -> None:
        """Make it, below a directory that has the controllers.

        Raises:
            FileExistsError: There is one of that name.
            SetupError: The kernel refuses it, or a limit; nothing is left.
        """
        self.path, self.limits = path, limits
        self._last = Usage()
        self.fd = _make(path)
        try:
            self._write_limits()
        except BaseException:
            self.remove()
            raise

    def kill(self) -> None:
        """Kill everything in it at once, also what is frozen; nothing happens if it is removed."""
        self._steer("cgroup.kill", b"1")

    def freeze(self) -> None:
        """Let nothing in it run until `thaw`; takes effect at once, or when the kernel is done."""
        self._steer("cgroup.freeze", b"1")

    def thaw(self) -> None:
        """Let everything in it run again."""
        self._steer("cgroup.freeze", b"0")

    @property
    def is_frozen(self) -> bool:
        """Whether everything in it is frozen by now."""
        return self._read_number("cgroup.events", b"frozen") == 1

    def read_usage(self) -> Usage:
        """Return what it takes; once it is removed, what was the last to be known."""
        if self.fd < 0:
            return self._last
        return Usage(
            memory=self._read_number("memory.current"),
            memory_peak=self._read_number("memory.peak"),
            cpu_s=(self._read_number("cpu.stat", b"usage_usec") or 0) / 1e6,
            pids=self._read_number("pids.current"),
            oom_kills=self._read_number("memory.events", b"oom_kill") or 0,
            pressure=dict(self._read_pressures()),
        )

    def remove(self) -> None:
        """Kill what is left in it, and remove it with what is below it.

        What the kernel does not let go of stays, for `delegation` to remove another time.
        """
        if self.fd < 0:
            return
        try:
            try:
                self._last = self.read_usage()
            except OSError:
                pass  # no descriptor left to ask with: what was known before has to do
            if not _try_to_remove(self.path):
                self.kill()
                self._wait_empty()
                _remove_tree(self.path)
        finally:
            os.close(self.fd)
            self.fd = -1

    def _write_limits(self) -> None:
        limits = self.limits
        if limits.memory is not None:
            self._limit("memory.max", str(limits.memory))
            self._limit("memory.high", str(limits.memory - limits.memory // _SOFT))
            self._forbid_swap()
        if limits.cpus is not None:
            self._limit("cpu.max", f"{round(limits.cpus * _PERIOD_US)} {_PERIOD_US}")
        if limits.pids is not None:
            self._limit("pids.max", str(limits.pids))
        if limits.io_weight is not None:
            self._weigh(limits.io_weight)

    def _weigh(self, weight: int) -> None:
        names, obstacle = find_weights(), find_weight_obstacle(weight)
        if not names or not obstacle:
            # Where no disk heeds it, so that a kernel which has no weights is told as such.
            for name in names or [_WEIGHT]:
                hint = f"this kernel has no weights for block devices ({_OPTIONS[name]})"
                self._limit(name, str(weight), hint)
        if obstacle:
            name = _BFQ_WEIGHT if names else _WEIGHT
            raise SetupError(f"set {name} to {weight} in ", 0, self.path, obstacle)

    def _forbid_swap(self) -> None:
        try:
            self._write("memory.swap.max", b"0")
        except OSError as error:
            if error.errno == ENOENT and not _has_swap():
                return
            hint = "boot with swapaccount=1, or without swap" if error.errno == ENOENT else ""
            self._refuse("memory.swap.max", "0", error, hint)

    def _limit(self, name: str, value: str, hint: str = "") -> None:
        try:
            self._write(name, value.encode())
        except OSError as error:
            self._refuse(name, value, error, hint if error.errno == ENOENT else "")

    def _refuse(self, name: str, value: str, error: OSError, hint: str) -> None:
        step = f"set {name} to {value} in "
        raise SetupError(step, error.errno or 0, self.path, hint) from error

    def _steer(self, name: str, value: bytes) -> None:
        if self.fd < 0:
            return
        try:
            self._write(name, value)
        except OSError as error:
            if error.errno not in _GONE:
                step = f"write {value.decode()} to {name} of "
                raise SetupError(step, error.errno or 0, self.path) from error

    def _write(self, name: str, value: bytes) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            os.write(fd, value)
        finally:
            os.close(fd)

    def _read(self, name: str) -> bytes:
        """Return what a file has, nothing if the kernel has no such file, or tells nothing."""
        if self.fd < 0:
            return b""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError as error:
            if error.errno in _GONE | {EOPNOTSUPP}:
                return b""
            raise
        try:
            return os.read(fd, _CHUNK)
        except OSError as error:
            if error.errno in _GONE | {EOPNOTSUPP}:
                return b""
            raise
        finally:
            os.close(fd)

    def _read_number(self, name: str, key: bytes = b"") -> int | None:
        """Return the number that a file has, or has in the line of a key."""
        for line in self._read(name).splitlines():
            words = line.split()
            if words[:-1] == ([key] if key else []) and words[-1].isdigit():
                return int(words[-1])
        return None

    def _read_pressures(self) -> Iterator[tuple[str, float]]:
        for kind in _PRESSURES:
            words = self._read(f"{kind}.pressure").split()
            if words[:1] == [b"some"]:
                yield kind, float(words[1].removeprefix(b"avg10="))

    def _wait_empty(self) -> None:
        """Wait a while until nothing in it, or below, is alive: the kernel says so by POLLPRI."""
        try:
            fd = os.open("cgroup.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError:
            return  # somebody else has removed it
        try:
            poll = select.poll()
            poll.register(fd, select.POLLPRI)
            deadline = time.monotonic() + _LAST_S
            while b"populated 1" in os.pread(fd, _CHUNK, 0):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return
                poll.poll(remaining * 1000)
        except OSError as error:
            if error.errno not in _GONE:
                raise
        finally:
            os.close(fd)


def _make(path: str) -> int:
    """Make a directory, and return it, open."""
    try:
        os.mkdir(path)
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except BaseException:
            os.rmdir(path)
            raise
    except FileExistsError:
        raise
    except OSError as error:
        raise SetupError("make the cgroup ", error.errno or 0, path) from error


def _has_swap() -> bool:
    try:
        with open(_SWAPS, "rb") as file:
            return len(file.readlines()) > 1  # the first is a heading
    except OSError:
        return False


def _remove_tree(path: str) -> None:
    """Remove what is empty of a cgroup and of those below it."""
    try:
        below = [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for directory in below:
        _remove_tree(directory)
    _try_to_remove(path)


def _try_to_remove(path: str) -> bool:
    """Remove a cgroup that has nothing below it, and nobody in it; return whether it is gone."""
    try:
        os.rmdir(path)
    except OSError as error:
        return error.errno in _GONE
    return True
