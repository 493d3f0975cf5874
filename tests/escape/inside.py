"""Run probes, each in a fork, and print a line with the verdict on each.

This is the program that a container executes, or unshare(1), or nobody but the caller.
"""

import errno
import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from . import (  # noqa: F401
    descriptors,
    exhaustion,
    kernel_files,
    processes,
    rights,
    surroundings,
    system_calls,
)
from .kernel import X86, call
from .probe import NAMESPACES, PROBES, ROOT, THROUGH, NothingError, Probe

if X86:
    from . import x86  # noqa: F401

PATIENCE = 5  # seconds for one probe
_MOST_DESCRIPTORS = 256
_MAX_VERDICT = 4096  # bytes
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_PRIVATE = 1, 32, 4096, 1 << 18
_CLONE_NEWNET = 0x40000000
_MOUNTED = ("mask", "moved", "tree", "locked", "switches")


def main() -> None:
    """Run the probes that the command line names, behind facts, the place, and as whom."""
    facts: dict[str, str] = json.loads(sys.argv[1])
    facts["descriptors"] = " ".join(map(str, find_descriptors()))
    if sys.argv[2:4] == [NAMESPACES, ROOT]:
        prepare_namespaces(facts)
    for name in sys.argv[4:]:
        sys.stdout.write(f"{name}\t{judge(PROBES[name], facts)}\n")
        sys.stdout.flush()


def find_descriptors() -> Iterable[int]:
    """Return the open descriptors but the standard ones."""
    for fd in range(3, _MOST_DESCRIPTORS):
        try:
            fcntl.fcntl(fd, fcntl.F_GETFD)
        except OSError:
            continue
        yield fd


def judge(probe: Probe, facts: dict[str, str]) -> str:
    """Return the verdict on a probe."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        signal.alarm(PATIENCE)
        os.write(write_end, attempt(probe, facts).encode()[:_MAX_VERDICT])
        os._exit(0)
    os.close(write_end)
    verdict = os.read(read_end, _MAX_VERDICT).decode()
    os.close(read_end)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return signal.Signals(-code).name if code < 0 else verdict


def attempt(probe: Probe, facts: dict[str, str]) -> str:
    """Run a probe here, and return the verdict."""
    try:
        probe.attack(facts)
    except NothingError as nothing:
        return str(nothing)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except BaseException as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return THROUGH


def prepare_namespaces(facts: dict[str, str]) -> None:
    """Be what a container without walls would be: an init whose forks may do all that it may."""
    scratch = Path(facts["scratch"])
    # Anew: the first one was made before its owner had an ID, and its devices are nobody's.
    call("unshare", _CLONE_NEWNET)
    mount(Path("/sys"), "sysfs")
    mount(scratch, "tmpfs")
    # Below a shared mount none can be moved.
    mount(scratch, "", _MS_PRIVATE)
    facts |= {name: str(scratch / name) for name in _MOUNTED}
    for path in (*map(scratch.joinpath, _MOUNTED), scratch / "tree/below"):
        path.mkdir()
        mount(path, "tmpfs")
    for name in ("locked", "switches"):
        mount(scratch / name, "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY)


def mount(path: Path, fstype: str, flags: int = 0) -> None:
    """Call mount(2)."""
    call("mount", b"none", os.fsencode(path), fstype.encode(), flags, None)
