"""The kernel's own file systems in a container: /proc, /sys and /dev.

A device node can't be made in a user namespace, so the harmless ones are the host's, bound onto
empty files. Everything else in /dev is made here.

Source: the OCI runtime specification, "Default Devices" and "Default Filesystems".
"""

import os
from stat import S_ISDIR

from . import calls
from .memory import Cell
from .mounts import TreeSource, open_in_root, open_source, source_attributes
from .spec import ContainerSpec
from .steps import ROOT, Setup, Step
from .syscalls import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    OPEN_TREE_CLONE,
    mount,
    move_mount,
    open_tree,
)
from .tape import Call
from .user_mapping import UserMapping

KERNEL_PATHS = ("/proc", "/sys", "/dev")
KERNEL_SECRETS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
    "/sys/kernel/debug",
)
KERNEL_SWITCHES = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

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
_SHM_SIZE = 64 * 2**20  # bytes, as docker run has it
_CLOSED = MS_NOSUID | MS_NODEV | MS_NOEXEC

# The same for container after container.
_prepared: dict[tuple[bool, bool, bool], list[Step]] = {}


def plan_kernel_filesystems(spec: ContainerSpec, mapping: UserMapping | None) -> list[Step]:
    """Return the steps that mount /proc, /sys and /dev onto directories that are there.

    A fresh root is the working directory, and has no links: there, plain paths are as good.
    """
    own_network = spec.network != "host"
    has_tty_group = mapping is None or mapping.maps_gid(_TTY_GID)
    key = own_network, has_tty_group, spec.rootfs == "busybox"
    if key not in _prepared:
        _prepared[key] = _plan(*key)
    return _prepared[key]


def _plan(own_network: bool, has_tty_group: bool, fresh: bool) -> list[Step]:
    mount_one = _mount_fresh if fresh else _mount
    if own_network:
        sysfs = mount_one("sysfs", "/sys", _CLOSED | MS_RDONLY, "")
    else:
        # sysfs shows one network namespace, and only the owner of that may mount it.
        attributes = source_attributes(read_only=True)
        action = "bind the host's /sys read-only"
        sysfs = Step(action, "/sys", Setup.attach_as_is, "/sys", "/sys", attributes, True)
    pts = "newinstance,ptmxmode=0666,mode=0620"
    if has_tty_group:
        pts += f",gid={_TTY_GID}"
    return [
        mount_one("proc", "/proc", _CLOSED, ""),
        sysfs,
        mount_one("tmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k"),
        Step(f"bind the host's {', '.join(NODES)}", "/dev", calls=tuple(_bind_nodes(fresh))),
        Step(f"link {', '.join(_LINKS)} in ", "/dev", calls=tuple(_make_links(fresh))),
        mount_one("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, pts),
        mount_one("tmpfs", "/dev/shm", _CLOSED, f"mode=1777,size={_SHM_SIZE}"),
        mount_one("mqueue", "/dev/mqueue", _CLOSED, ""),
    ]


def mount_cgroups() -> Step:
    """Return the step that shows a container its own cgroup where runtimes look for their limits.

    Those of Java and Go, for example, size their heaps and threads by it.
    """
    return _CGROUPS


def forbid_writing_to_kernel(setup: Setup) -> None:
    """Bind the parts of /proc that steer the kernel onto themselves, read-only.

    For root that is not in a user namespace: by its ID alone it may write there, whatever its
    capabilities. It has none that would let it undo this.
    """
    for path in KERNEL_SWITCHES:
        try:
            target = open_in_root(setup.root_fd, path, os.O_PATH)
        except FileNotFoundError:
            continue  # this kernel was built without
        attributes = source_attributes(read_only=True)
        place = f"/proc/self/fd/{target}"
        tree = open_source(TreeSource(place, recursive=False, attributes=attributes))
        move_mount(tree, target)
        os.close(tree)
        os.close(target)


def hide_kernel_secrets(setup: Setup) -> None:
    """Lay /dev/null or an empty directory over what tells of the host; for such root as above."""
    for path in KERNEL_SECRETS:
        try:
            target = open_in_root(setup.root_fd, path, os.O_PATH)
        except FileNotFoundError:
            continue
        if S_ISDIR(os.fstat(target).st_mode):
            mount("none", f"/proc/self/fd/{target}", "tmpfs", _CLOSED | MS_RDONLY, "size=0")
        else:
            tree = open_tree("/dev/null", OPEN_TREE_CLONE)
            move_mount(tree, target)
            os.close(tree)
        os.close(target)


def _mount(fstype: str, path: str, flags: int, data: str) -> Step:
    target = Cell(-1)
    made = [
        calls.open_in_root(ROOT, path, os.O_PATH | os.O_DIRECTORY, to=target),
        calls.fchdir(target),
        calls.mount("none", ".", fstype, flags, data),
        calls.close(target),
    ]
    return Step(f"mount {fstype}", path, calls=tuple(made))


def _mount_fresh(fstype: str, path: str, flags: int, data: str) -> Step:
    return Step(
        f"mount {fstype}", path, calls=(calls.mount("none", path[1:], fstype, flags, data),)
    )


def _open_dev(fresh: bool) -> tuple[Cell, list[Call]]:
    """Return where /dev will be open, and the calls that open it."""
    dev, flags = Cell(-1), os.O_PATH | os.O_DIRECTORY
    if fresh:
        return dev, [calls.open_file("dev", flags, to=dev)]
    return dev, [calls.open_in_root(ROOT, "/dev", flags, to=dev)]


def _bind_nodes(fresh: bool) -> list[Call]:
    dev, bind = _open_dev(fresh)
    node = Cell(-1)
    bind.append(calls.fchdir(dev))
    for name in NODES:
        bind += [
            calls.open_file(name, os.O_CREAT | os.O_EXCL | os.O_RDONLY, 0o644, to=node),
            calls.close(node),
            calls.mount(f"/dev/{name}", name, "", MS_BIND),
        ]
    return [*bind, calls.fchdir(ROOT), calls.close(dev)]


def _make_links(fresh: bool) -> list[Call]:
    dev, made = _open_dev(fresh)
    made += (calls.symlinkat(target, dev, name) for name, target in _LINKS.items())
    made += (calls.mkdirat(dev, name, 0o755) for name in _DIRECTORIES)
    return [*made, calls.close(dev)]


_CGROUPS = _mount("cgroup2", "/sys/fs/cgroup", _CLOSED | MS_RDONLY, "")
