"""Probes of the network and of the mounts around a container."""

import fcntl
import os
import socket
import struct
import tempfile
from pathlib import Path

from .kernel import call
from .probe import (
    LOCK_OPTIONS,
    LOCKED_MOUNTS,
    NAMESPACES,
    NETWORK,
    OTHER_NAMESPACE,
    ROOT,
    USER,
    Facts,
    NothingError,
    Wall,
    probe,
)

_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_MOVE = 1, 32, 4096, 8192
_MNT_DETACH = 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_HIDDEN = Wall("mount namespace", "-v", ("-v", "{hidden}:{hidden}"), whom=(ROOT, USER))
_READ_ONLY = Wall("a volume with :ro", "without :ro", facts={"locked": "/box"}, whom=(ROOT, USER))
_OVERLAY = Wall(
    "an overlay",
    "--rootfs-mode rw",
    (
        *("--rootfs", "{skeleton}", "-v", "/usr:/usr:ro"),
        *("-v", "{skeleton}:/mirror:ro", "--rootfs-mode", "rw"),
    ),
    whom=(ROOT, USER),
)
_PROGRAMS = Wall(
    "an overlay, or read-only mounts",
    "a volume",
    facts={"program": "/box/canary", "program-on-host": "/box/canary"},
)
_PROPAGATION = Wall("mounts are slaves", "namespaces alone", place=NAMESPACES, whom=(ROOT, USER))


@probe("H-loopback", NETWORK, "ECONNREFUSED")
def connect_to_loopback(facts: Facts) -> None:
    """Connect to what listens on the host's 127.0.0.1."""
    with socket.socket() as client:
        client.connect(("127.0.0.1", int(facts["port"])))


@probe("H-abstract", NETWORK, "ECONNREFUSED")
def connect_to_abstract_socket(facts: Facts) -> None:
    """Connect to an abstract socket of the host's."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + facts["abstract"])


@probe("H-unix", _HIDDEN, "ENOENT")
def connect_to_unix_socket(facts: Facts) -> None:
    """Connect to a socket of the host's by its path."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{facts['hidden']}/socket")


@probe("H-interfaces", NETWORK, "lo alone")
def list_interfaces(facts: Facts) -> None:
    """See the host's network devices."""
    if [name for _, name in socket.if_nameindex()] == ["lo"]:
        raise NothingError("lo alone")


@probe("H-namespace", NETWORK, "its own")
def compare_network(facts: Facts) -> None:
    """Be in the host's network namespace."""
    if str(Path("/proc/self/ns/net").readlink()) != facts["network"]:
        raise NothingError("its own")


@probe("H-configure", OTHER_NAMESPACE, "EPERM")
def take_device_down(facts: Facts) -> None:
    """Change a network device of the container's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sh14x", b"lo", 0)
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, asked)
        flags = struct.unpack("16sh14x", answer)[1] ^ _IFF_UP
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags))


@probe("M-write", _READ_ONLY, "EROFS")
def write_to_volume(facts: Facts) -> None:
    """Write to a read-only volume."""
    tempfile.NamedTemporaryFile(dir=f"{facts['locked']}/open").close()


@probe("M-remount", LOCKED_MOUNTS, "EPERM", options=LOCK_OPTIONS)
def remount_volume(facts: Facts) -> None:
    """With all capabilities, make a read-only volume writable."""
    call("mount", None, os.fsencode(facts["locked"]), None, _MS_REMOUNT | _MS_BIND, None)


@probe("M-remount-root", LOCKED_MOUNTS, "EPERM", options=LOCK_OPTIONS)
def remount_kernel_file(facts: Facts) -> None:
    """With all capabilities, make a read-only path of /proc writable."""
    call("mount", None, os.fsencode(facts["switches"]), None, _MS_REMOUNT | _MS_BIND, None)


@probe("M-unmask", LOCKED_MOUNTS, "EINVAL", options=LOCK_OPTIONS)
def unmount_mask(facts: Facts) -> None:
    """With all capabilities, take off a mount that hides something."""
    call("umount2", os.fsencode(facts["mask"]), _MNT_DETACH)


@probe("M-move", LOCKED_MOUNTS, "EINVAL", options=LOCK_OPTIONS)
def move_mask(facts: Facts) -> None:
    """With all capabilities, move a mount away from what it hides."""
    target = tempfile.mkdtemp(dir=facts["scratch"])
    call("mount", os.fsencode(facts["moved"]), os.fsencode(target), None, _MS_MOVE, None)


@probe("M-beneath", LOCKED_MOUNTS, "EINVAL", options=LOCK_OPTIONS)
def look_beneath_mounts(facts: Facts) -> None:
    """With all capabilities, show a directory elsewhere without the mounts that hide parts."""
    target = tempfile.mkdtemp(dir=facts["scratch"])
    call("mount", os.fsencode(facts["tree"]), os.fsencode(target), None, _MS_BIND, None)


@probe("M-proc", LOCKED_MOUNTS, "EPERM", options=LOCK_OPTIONS)
def mount_proc(facts: Facts) -> None:
    """With all capabilities, mount a /proc without masks."""
    call("mount", b"none", os.fsencode(tempfile.mkdtemp()), b"proc", 0, None)


@probe("M-sys", LOCKED_MOUNTS, "EPERM", options=LOCK_OPTIONS)
def mount_sys(facts: Facts) -> None:
    """With all capabilities, mount a /sys that can be written to."""
    call("mount", b"none", os.fsencode(tempfile.mkdtemp()), b"sysfs", 0, None)


@probe("M-shared", _PROPAGATION, "none")
def find_shared_mount(facts: Facts) -> None:
    """Find a mount that is passed on to the host."""
    if " shared:" not in Path("/proc/self/mountinfo").read_text():
        raise NothingError("none")


@probe("M-program", _PROGRAMS, "a copy|EROFS|EACCES", options=("-v", "/usr/bin:/programs:ro"))
def write_to_program(facts: Facts) -> None:
    """Change a program of the host's."""
    paths = [Path(facts[name]) for name in ("program", "program-on-host")]
    before = paths[1].read_bytes()
    with paths[0].open("ab") as program:
        program.write(b"\n")
    if paths[1].read_bytes() == before:
        raise NothingError("a copy")


@probe(
    "M-root",
    _OVERLAY,
    "a copy",
    options=("--rootfs", "{skeleton}", "-v", "/usr:/usr:ro", "-v", "{skeleton}:/mirror:ro"),
)
def write_to_root(facts: Facts) -> None:
    """Write to the directory that is the root."""
    # Where a user may write as well. Whoever runs this may not be able to remove what is a user's.
    with tempfile.TemporaryDirectory(dir="/tmp") as written:
        if not Path(f"/mirror{written}").exists():
            raise NothingError("a copy")
