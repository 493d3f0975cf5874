"""Probes of /proc and /sys: what steers the host's kernel, and what tells of the host."""

import os
import struct
import tempfile
from contextlib import suppress
from pathlib import Path

from .kernel import call
from .probe import HOST, NAMESPACES, NOT_ROOT, ROOT, USER, Facts, NothingError, Wall, probe

_KEY_JOIN = 1
_MOUNT = Wall("seccomp, capabilities", "namespaces alone", place=NAMESPACES)
_OWN_SWITCHES = Wall("read-only paths", "namespaces alone", place=NAMESPACES)
_SWITCHES = Wall("read-only paths", "namespaces alone", place=NAMESPACES, needs_root=True)
_MASKS = Wall("masked paths", "namespaces alone", place=NAMESPACES, whom=(ROOT, USER))
_READ_ONLY_SYS = Wall("/sys is read-only", "no container", place=HOST, needs_root=True)
_HOST_MASKS = Wall("masked paths", "no container", place=HOST, whom=(ROOT, USER))
_ROOTS_MASKS = Wall("masked paths", "no container", place=HOST, needs_root=True)


def open_for_writing(path: str) -> None:
    """Open a file for writing, and write nothing."""
    # To truncate it says that it is read-only before it says whose it is.
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


def read_secret(path: str) -> None:
    """Read a file, if there is anything in it."""
    with Path(path).open("rb", buffering=0) as file:
        if not file.read(64):
            raise NothingError("empty")


@probe("E-core-pattern", _SWITCHES, "EROFS")
def open_core_pattern(facts: Facts) -> None:
    """Name a program that the host executes for each core dump."""
    open_for_writing("/proc/sys/kernel/core_pattern")


@probe("E-dumpable", _SWITCHES, "EROFS")
def open_suid_dumpable(facts: Facts) -> None:
    """Make setuid programs of the host's dump core."""
    open_for_writing("/proc/sys/fs/suid_dumpable")


@probe("E-overcommit", _SWITCHES, "EROFS")
def open_overcommit(facts: Facts) -> None:
    """Change how the host's memory is given away."""
    open_for_writing("/proc/sys/vm/overcommit_memory")


@probe("E-irq", _SWITCHES, "EROFS")
def open_interrupts(facts: Facts) -> None:
    """Change which processor serves the host's interrupts."""
    open_for_writing("/proc/irq/default_smp_affinity")


@probe("E-own-network", _OWN_SWITCHES, "EROFS")
def open_forwarding(facts: Facts) -> None:
    """Change a setting of the container's own network in /proc/sys."""
    open_for_writing("/proc/sys/net/ipv4/ip_forward")


@probe("E-own-namespaces", _OWN_SWITCHES, "EROFS")
def open_max_namespaces(facts: Facts) -> None:
    """Change how many namespaces may be made."""
    open_for_writing("/proc/sys/user/max_user_namespaces")


@probe("E-own-device", _OWN_SWITCHES, "EROFS")
def open_device(facts: Facts) -> None:
    """Change a network device in /sys."""
    open_for_writing("/sys/class/net/lo/mtu")


@probe("E-power", _READ_ONLY_SYS, "EROFS")
def open_power_state(facts: Facts) -> None:
    """Put the host to sleep by /sys/power/state."""
    open_for_writing("/sys/power/state")


@probe("E-huge-pages", _READ_ONLY_SYS, "EROFS")
def open_huge_pages(facts: Facts) -> None:
    """Change the host's memory management in /sys/kernel."""
    open_for_writing("/sys/kernel/mm/transparent_hugepage/enabled")


@probe("E-keys", _MASKS, "empty")
def read_keys(facts: Facts) -> None:
    """List keys of the host's."""
    with suppress(PermissionError):
        call("keyctl", _KEY_JOIN, None)  # so that there is one
    read_secret("/proc/keys")


@probe("E-interrupts", _MASKS, "empty")
def read_interrupts(facts: Facts) -> None:
    """Watch the host's interrupts, and so its keyboard."""
    read_secret("/proc/interrupts")


@probe("E-timers", _ROOTS_MASKS, "empty")
def read_timers(facts: Facts) -> None:
    """List the timers of the host's processes."""
    read_secret("/proc/timer_list")


@probe("E-pages", _ROOTS_MASKS, "empty")
def read_page_counts(facts: Facts) -> None:
    """See how the host uses each page of its memory."""
    read_secret("/proc/kpagecount")


@probe("E-firmware", _HOST_MASKS, "empty")
def list_firmware(facts: Facts) -> None:
    """Look into the host's firmware."""
    if not list(Path("/sys/firmware").iterdir()):
        raise NothingError("empty")


@probe("E-frame-numbers", NOT_ROOT, "nothing")
def read_frame_number(facts: Facts) -> None:
    """Learn where the host has memory of the container's."""
    page = os.sysconf("SC_PAGE_SIZE")
    with Path("/proc/self/pagemap").open("rb", buffering=0) as file:
        file.seek(id(page) // page * 8)
        (entry,) = struct.unpack("=Q", file.read(8))
    if not entry & (1 << 55) - 1:
        raise NothingError("nothing")


@probe("E-cgroup", _MOUNT, "EPERM")
def mount_cgroups(facts: Facts) -> None:
    """Mount the host's cgroups, for their release_agent."""
    call("mount", b"none", os.fsencode(tempfile.mkdtemp()), b"cgroup2", 0, None)
