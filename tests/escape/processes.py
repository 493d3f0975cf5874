"""Probes of the init, and of the host's processes."""

import ctypes
import os
from pathlib import Path

from .kernel import call
from .probe import BARE, HOST, OWN_PROCESSES, ROOT, USER, Facts, NothingError, Wall, probe

PTRACE_SEIZE = 0x4206
HIDDEN = "MOCKER_PROBE_HIDDEN"  # a variable of the caller's
TITLE = "mocker-init"
_SECRET = b"what the init knows, and its forks"
_ENVIRONMENT = Wall("a fresh environment", "no container", place=HOST, whom=(ROOT, USER))


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@probe("A-init-ptrace", BARE, "EPERM")
def trace_init(facts: Facts) -> None:
    """Trace the init."""
    call("ptrace", PTRACE_SEIZE, 1, 0, 0)


@probe("A-init-mem", BARE, "EACCES")
def open_memory_of_init(facts: Facts) -> None:
    """Open the init's memory for writing."""
    os.close(os.open("/proc/1/mem", os.O_RDWR))


@probe("A-init-vm-readv", BARE, "EPERM")
def read_memory_of_init(facts: Facts) -> None:
    """Read the init's memory without opening it."""
    buffer = ctypes.create_string_buffer(len(_SECRET))
    # In a fork of the init's, this is where the init has it too.
    address = id(_SECRET) + bytes.__basicsize__ - 1
    local = _Vector(ctypes.addressof(buffer), len(_SECRET))
    call("process_vm_readv", 1, local, 1, _Vector(address, len(_SECRET)), 1, 0)
    if buffer.raw[: len(_SECRET)] != _SECRET:
        raise NothingError("something else")


@probe("A-init-maps", BARE, "EACCES")
def read_maps_of_init(facts: Facts) -> None:
    """Read where the init has what in memory."""
    if not Path("/proc/1/maps").read_bytes():
        raise NothingError("nothing")


@probe("A-init-environ", BARE, "EACCES")
def read_environment_of_init(facts: Facts) -> None:
    """Read the caller's environment, which the init inherits."""
    if HIDDEN.encode() not in Path("/proc/1/environ").read_bytes():
        raise NothingError("nothing of the caller's")


@probe("A-init-cmdline", BARE, TITLE)
def read_command_line_of_init(facts: Facts) -> None:
    """Read the caller's command line, which the init inherits."""
    line = Path("/proc/1/cmdline").read_bytes().rstrip(b"\0").decode()
    if line == TITLE:
        raise NothingError(line)


@probe("A-init-fd", BARE, "EACCES")
def look_at_descriptors_of_init(facts: Facts) -> None:
    """See what the init has open."""
    for path in Path("/proc/1/fd").iterdir():
        path.readlink()


@probe("A-init-pidfd-getfd", BARE, "EPERM")
def take_descriptor_of_init(facts: Facts) -> None:
    """Take a descriptor from the init."""
    os.close(call("pidfd_getfd", os.pidfd_open(1), 0, 0))


@probe("A-init-exe", BARE, "EACCES")
def open_program_of_init(facts: Facts) -> None:
    """Get a handle on the program that made the container, to overwrite it later."""
    os.close(os.open("/proc/1/exe", os.O_PATH))


@probe("A-init-root", BARE, "EACCES")
def look_into_root_of_init(facts: Facts) -> None:
    """Walk into the init's root directory."""
    list(Path("/proc/1/root").iterdir())


@probe("A-init-namespaces", BARE, "EACCES")
def open_namespace_of_init(facts: Facts) -> None:
    """Get a handle on the init's user namespace, to join it."""
    os.close(os.open("/proc/1/ns/user", os.O_RDONLY))


@probe("A-host-signal", OWN_PROCESSES, "ESRCH")
def signal_process_of_host(facts: Facts) -> None:
    """Signal a process of the host's that has the same owner."""
    os.kill(int(facts["process"]), 0)


@probe("A-host-pidfd", OWN_PROCESSES, "ESRCH")
def open_process_of_host(facts: Facts) -> None:
    """Get a handle on a process of the host's."""
    os.close(os.pidfd_open(int(facts["process"])))


@probe("A-host-proc", OWN_PROCESSES, "nothing of the host's")
def find_process_of_host(facts: Facts) -> None:
    """Find the command line of a process of the host's in /proc."""
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    if facts["title"].replace(" ", "\0").encode() + b"\0" not in lines:
        raise NothingError("nothing of the host's")


@probe("A-environment", _ENVIRONMENT, "not there")
def read_variable_of_caller(facts: Facts) -> None:
    """Read a variable of the caller's."""
    if HIDDEN not in os.environ:
        raise NothingError("not there")
