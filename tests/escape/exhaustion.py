"""Probes that take too much."""

import ctypes
import mmap
import os
import signal
import tempfile

from .kernel import call, wait_in_fork
from .probe import HOST, LIMIT, ROOT, USER, Facts, NothingError, Wall, probe

_MEBIBYTE = 2**20
_CORE = Wall("no core dumps", "--ulimit core=unlimited", ("--ulimit", "core=-1"), whom=(ROOT, USER))
_SHM = Wall("/dev/shm has 64 MiB", "no container", place=HOST, whom=(ROOT, USER))
_SIZE = Wall("--tmpfs :size=1m", ":size=8m", ("--tmpfs", "/small:size=8m"), whom=(ROOT, USER))
_BOUND = Wall(
    "a bound on each tmpfs",
    "--tmpfs :size=1000g",
    ("--tmpfs", "/tmp:size=1000g"),
    whom=(ROOT, USER),
)


def fill(directory: str, size: int) -> None:
    """Take so many bytes of a file system."""
    with tempfile.TemporaryFile(dir=directory) as file:
        os.posix_fallocate(file.fileno(), 0, size)


@probe("R-shm", _SHM, "ENOSPC")
def fill_shared_memory(facts: Facts) -> None:
    """Fill the memory by /dev/shm."""
    fill("/dev/shm", 65 * _MEBIBYTE)


@probe("R-tmpfs", _SIZE, "ENOSPC", options=("--tmpfs", "/small:size=1m"))
def fill_tmpfs(facts: Facts) -> None:
    """Fill the memory by a tmpfs."""
    fill("/small", 2 * _MEBIBYTE)


@probe("R-tmp", _BOUND, "a part of it")
def take_all_memory(facts: Facts) -> None:
    """Take half of the memory by a fresh /tmp."""
    room = os.statvfs("/tmp")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if room.f_blocks * room.f_frsize < 0.4 * memory:
        raise NothingError("a part of it")


@probe("R-core", _CORE, "no core")
def dump_core(facts: Facts) -> None:
    """Fill a disk with core dumps."""
    status = wait_in_fork(abort_in_tmp)
    if not os.WCOREDUMP(status):
        raise NothingError("no core")


def abort_in_tmp() -> None:
    os.chdir(tempfile.mkdtemp())
    signal.signal(signal.SIGABRT, signal.SIG_DFL)
    os.abort()


@probe("R-nofile", LIMIT, "EMFILE", options=("--ulimit", "nofile=64"))
def open_descriptors(facts: Facts) -> None:
    """Open more descriptors than --ulimit nofile=64 grants."""
    for _ in range(64):
        os.dup(0)


@probe("R-nproc", LIMIT, "EAGAIN", options=("--ulimit", "nproc=32"))
def fork_bomb(facts: Facts) -> None:
    """Fork more processes than --ulimit nproc=32 grants."""
    pids = list[int]()
    try:
        for _ in range(40):
            pid = os.fork()
            if pid == 0:
                signal.pause()
            pids.append(pid)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@probe("R-fsize", LIMIT, "EFBIG", options=("--ulimit", f"fsize={_MEBIBYTE}"))
def write_big_file(facts: Facts) -> None:
    """Write a bigger file than --ulimit fsize=1048576 grants."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with tempfile.TemporaryFile() as file:
        file.truncate(2 * _MEBIBYTE)


@probe("R-as", LIMIT, "ENOMEM", options=("--ulimit", f"as={512 * _MEBIBYTE}"))
def map_memory(facts: Facts) -> None:
    """Map more memory than --ulimit as=536870912 grants."""
    mmap.mmap(-1, 1024 * _MEBIBYTE).close()


@probe("R-memlock", LIMIT, "ENOMEM", options=("--ulimit", "memlock=65536"))
def lock_memory(facts: Facts) -> None:
    """Lock more memory than --ulimit memlock=65536 grants."""
    with mmap.mmap(-1, _MEBIBYTE) as memory:
        byte = ctypes.c_char.from_buffer(memory)
        try:
            call("mlock", ctypes.addressof(byte), _MEBIBYTE)
        finally:
            del byte  # which the map would not be closed with
