"""The kernel's own file systems in a container: /proc, /sys and /dev.

A device node can't be made in a user namespace, so the harmless ones are the host's, bound onto
empty files. Everything else in /dev is made here.

Source: the OCI runtime specification, "Default Devices" and "Default Filesystems".
"""

import os
from stat import S_ISDIR

from .mounts import (
    TreeSource,
    make_directory,
    open_in_root,
    open_source,
    source_attributes,
)
from .spec import ContainerSpec
from .steps import Setup, Step
from .syscalls import (
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    OPEN_TREE_CLONE,
    mount,
    move_mount,
    open_tree,
)

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

_NODES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_TTY_GID = 5  # the group that owns terminals on every distribution
_SHM_SIZE = 64 * 2**20  # bytes, as docker run has it
_CLOSED = MS_NOSUID | MS_NODEV | MS_NOEXEC


def plan_kernel_filesystems(spec: ContainerSpec) -> list[Step]:
    """Return the steps that mount /proc, /sys and /dev."""
    if spec.network == "none":
        sysfs = _mount("sysfs", "/sys", _CLOSED | MS_RDONLY)
    else:
        # sysfs shows one network namespace, and only the owner of that may mount it.
        attributes = source_attributes(read_only=True)
        source = TreeSource("/sys", recursive=True, attributes=attributes)
        sysfs = Step("bind the host's /sys read-only", "/sys", Setup.attach, source, "/sys")
    return [
        _mount("proc", "/proc", _CLOSED),
        sysfs,
        _mount("tmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k"),
        Step(f"bind the host's {', '.join(_NODES)}", "/dev", _bind_nodes),
        Step(f"link {', '.join(_LINKS)}", "/dev", _make_links),
        Step("mount devpts", "/dev/pts", _mount_devpts),
        _mount("tmpfs", "/dev/shm", _CLOSED, f"mode=1777,size={_SHM_SIZE}"),
        _mount("mqueue", "/dev/mqueue", _CLOSED),
    ]


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


def _mount(fstype: str, path: str, flags: int, data: str = "") -> Step:
    return Step(f"mount {fstype}", path, Setup.mount_new, path, fstype, flags, data)


def _bind_nodes(setup: Setup) -> None:
    dev_fd = make_directory(setup.root_fd, "/dev")
    try:
        for name in _NODES:
            flags = os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC
            node = os.open(name, flags, 0o644, dir_fd=dev_fd)
            tree = open_tree(f"/dev/{name}", OPEN_TREE_CLONE)
            move_mount(tree, node)
            os.close(tree)
            os.close(node)
    finally:
        os.close(dev_fd)


def _make_links(setup: Setup) -> None:
    dev_fd = make_directory(setup.root_fd, "/dev")
    try:
        for name, target in _LINKS.items():
            os.symlink(target, name, dir_fd=dev_fd)
    finally:
        os.close(dev_fd)


def _mount_devpts(setup: Setup) -> None:
    options = "newinstance,ptmxmode=0666,mode=0620"
    if setup.mapping is None or setup.mapping.maps_gid(_TTY_GID):
        options += f",gid={_TTY_GID}"
    setup.mount_new("/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, options)
