"""The kernel's own file systems in a container: /proc, /sys and /dev.

They are mounted where nothing is but what mocker put there: in a fresh root at once, for a
directory's in a place of their own, from where they are moved as they are. So nothing that a
hostile directory has, or somebody changes in it meanwhile, is in the way of what is done to them.

A device node can't be made in a user namespace, so the harmless ones are the host's, bound onto
empty files. Everything else in /dev is made here.

Source: the OCI runtime specification, "Default Devices" and "Default Filesystems".
"""

import os
from _collections_abc import Sequence

from . import calls
from .errors import SetupError
from .layers import BASE
from .masks import (
    CLOSED,
    HIDDEN_FILES,
    READ_ONLY,
    check_null,
    forbid_writing,
    hide,
    list_hidden_directories,
)
from .memory import Cell
from .mounts import check_attached, check_not_root, open_in_root, source_attributes
from .spec import ContainerSpec
from .steps import ROOT, Setup, Step
from .syscalls import (
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MS_BIND,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    move_mount,
)
from .tape import Call
from .user_mapping import UserMapping

KERNEL_PATHS = ("/proc", "/sys", "/dev")

NODES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_DIRECTORIES = ("pts", "shm", "mqueue")
_TTY_GID = 5  # the group that owns terminals on every distribution
# As docker run has them; and as many files as have a use, which take memory even if they are empty.
_DEV_BOUNDS = "size=64k,nr_inodes=1k"
_SHM_BOUNDS = "size=64m,nr_inodes=64k"
_PLACE = "kernel"  # in the file system for layers

# The same for container after container: up to what needs to write to /proc, and after it.
_prepared: dict[tuple[bool, bool, bool], tuple[list[Step], list[Step]]] = {}


def plan_kernel_filesystems(
    spec: ContainerSpec, mapping: UserMapping | None, within: Sequence[Step] = ()
) -> list[Step]:
    """Return the steps that mount /proc, /sys and /dev onto directories that are there.

    Args:
        spec: What was asked for.
        mapping: Of its user namespace.
        within: Steps for which all three are in the working directory, and /proc can be written to.

    Raises:
        SetupError: The host's /dev/null is none.
    """
    check_null()
    own_network = spec.network != "host"
    has_tty_group = mapping is None or mapping.maps_gid(_TTY_GID)
    key = own_network, has_tty_group, spec.rootfs not in {"busybox", "host"}
    if key not in _prepared:
        _prepared[key] = _plan(*key)
    opening, closing = _prepared[key]
    return [*opening, *within, *closing]


def _plan(own_network: bool, has_tty_group: bool, apart: bool) -> tuple[list[Step], list[Step]]:
    pts = "newinstance,ptmxmode=0666,mode=0620"
    if has_tty_group:
        pts += f",gid={_TTY_GID}"
    opening = [
        _mount(
            "proc", "/proc", CLOSED, "", before=_make_place() if apart else [calls.fchdir(ROOT)]
        ),
        _mount("sysfs", "/sys", CLOSED | MS_RDONLY, "") if own_network else _bind_sysfs(),
        # What is a device there is a mount of its own.
        _mount("tmpfs", "/dev", CLOSED, f"mode=0755,{_DEV_BOUNDS}"),
        Step(f"bind the host's {', '.join(NODES)}", "/dev", calls=tuple(_bind_nodes())),
        Step(f"link {', '.join(_LINKS)} in ", "/dev", calls=tuple(_make_links())),
        _mount("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, pts),
        _mount("tmpfs", "/dev/shm", CLOSED, f"mode=1777,{_SHM_BOUNDS}"),
        _mount("mqueue", "/dev/mqueue", CLOSED, ""),
    ]
    hidden = list_hidden_directories(own_network=own_network)
    closing = [
        Step(f"forbid writing to {', '.join(READ_ONLY)}", "", calls=tuple(forbid_writing())),
        Step(f"hide {', '.join((*HIDDEN_FILES, *hidden))}", "", calls=tuple(hide(hidden))),
    ]
    if apart:
        closing.append(Step(f"move {', '.join(KERNEL_PATHS)} below ", "/", _move))
    return opening, closing


def mount_cgroups() -> Step:
    """Return the step that shows a container its own cgroup where runtimes look for their limits.

    Those of Java and Go, for example, size their heaps and threads by it.
    """
    return _CGROUPS


def _mount(fstype: str, path: str, flags: int, data: str, *, before: Sequence[Call] = ()) -> Step:
    made = (*before, calls.mount("none", path[1:], fstype, flags, data))
    return Step(f"mount {fstype}", path, calls=made)


def _bind_sysfs() -> Step:
    """Return the step for a network that is shared: only its owner may mount what shows it."""
    tree, target = Cell(-1), Cell(-1)
    attributes = source_attributes(read_only=True) | MOUNT_ATTR_NOEXEC
    made = (
        calls.open_tree("/sys", recursive=True, to=tree),
        calls.mount_setattr(tree, attributes, recursive=True),
        calls.open_file("sys", os.O_PATH, to=target),
        calls.move_mount(tree, target),
        calls.close(tree),
        calls.close(target),
    )
    return Step("bind the host's /sys read-only", "/sys", calls=made)


def _make_place() -> list[Call]:
    """Return the calls that go to a directory with mount points in which nobody has a hand."""
    place = Cell(-1)
    return [
        calls.mkdirat(BASE, _PLACE, 0o755),
        calls.openat(BASE, _PLACE, os.O_PATH, to=place),
        *(calls.mkdirat(place, path[1:], 0o755) for path in KERNEL_PATHS),
        calls.fchdir(place),
        calls.close(place),
    ]


def _move(setup: Setup) -> None:
    """Move what is mounted in the place below the root, and find it there.

    Raises:
        SetupError: What is there instead leads elsewhere, or somebody changes it meanwhile.
    """
    moved = [os.open(path[1:], os.O_PATH | os.O_CLOEXEC) for path in KERNEL_PATHS]
    for path, tree in zip(KERNEL_PATHS, moved, strict=True):
        try:
            target = open_in_root(setup.root_fd, path, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise SetupError("mount on ", error.errno or 0, path) from error
        check_not_root(target, setup.root_fd, path)
        move_mount(tree, target)
        os.close(target)
    for path, tree in zip(KERNEL_PATHS, moved, strict=True):
        check_attached(tree, setup.root_fd, path)
        os.close(tree)


def _bind_nodes() -> list[Call]:
    bind, node = list[Call](), Cell(-1)
    flags = os.O_CREAT | os.O_EXCL | os.O_RDONLY
    for name in NODES:
        bind += [
            calls.open_file(f"dev/{name}", flags, 0o644, to=node),
            calls.close(node),
            calls.mount(f"/dev/{name}", f"dev/{name}", "", MS_BIND),
        ]
    attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
    return [*bind, calls.mount_setattr("dev", attributes, recursive=True)]


def _make_links() -> list[Call]:
    dev = Cell(-1)
    return [
        calls.open_file("dev", os.O_PATH | os.O_DIRECTORY, to=dev),
        *(calls.symlinkat(target, dev, name) for name, target in _LINKS.items()),
        *(calls.mkdirat(dev, name, 0o755) for name in _DIRECTORIES),
        calls.close(dev),
    ]


_CGROUPS = _mount("cgroup2", "/sys/fs/cgroup", CLOSED | MS_RDONLY, "")
