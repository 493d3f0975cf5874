"""The host's files as a root, copied on write.

Overlay does not take "/" itself as a lower layer in a user namespace (its mounts are locked
together), but takes each top-level directory that has no mounts below it. The others are bound
read-only. For an ordinary user a file whose owner is not mapped can't be copied up, so the system's
files are read-only in effect and the user's own are copy-on-write.

Source: mount_namespaces(7), the kernel's Documentation/filesystems/overlayfs.rst, proc(5).
"""

import os
from stat import S_ISDIR, S_ISLNK, S_ISREG

from .errors import SetupError
from .layers import BASE, STACK_BASE, attach_lower, attach_part, mount_overlay
from .mounts import TreeSource, make_directory, open_in_root, source_attributes
from .steps import Setup, Step
from .syscalls import MOUNT_ATTR_NODEV

KERNEL_DIRECTORIES = ("dev", "proc", "sys")  # mounted anew in every container
FRESH_ON_HOST = {"/tmp": 0o1777, "/run": 0o755, "/var/tmp": 0o1777}


def plan_host_root(sources: list[TreeSource]) -> list[Step]:
    """Return the steps that put the host's files in place.

    Args:
        sources: Grows by what of the host is needed.
    """
    steps = [
        Step("mount tmpfs for what is written", "", calls=STACK_BASE),
        Step("bind a part of it", "/", _bind_root),
    ]
    mount_points = _read_mount_points()
    for name in sorted(os.listdir("/")):
        path = f"/{name}"
        if name not in KERNEL_DIRECTORIES and path not in FRESH_ON_HOST:
            below = any(point.startswith(f"{path}/") for point in mount_points)
            steps += _plan_entry(path, sources, mounts_below=below)
    for path, mode in FRESH_ON_HOST.items():
        steps.append(Step("bind a part of it", path, _bind_fresh, path, mode))
    return steps


def _plan_entry(path: str, sources: list[TreeSource], *, mounts_below: bool) -> list[Step]:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return []  # a dead mount, such as of a file server that is gone, has nothing to show
    if S_ISLNK(mode):
        return [Step(f"link to {os.readlink(path)}", path, _make_link, path)]
    if S_ISDIR(mode) and not mounts_below:
        attributes = MOUNT_ATTR_NODEV
        sources.append(TreeSource(path, recursive=False, attributes=attributes, must_map=False))
        action = "overlay the host's, or bind it read-only where the kernel refuses,"
        return [Step(action, path, _overlay_or_bind, len(sources) - 1, path)]
    attributes = source_attributes(read_only=True)
    if S_ISDIR(mode):
        sources.append(TreeSource(path, recursive=True, attributes=attributes, must_map=False))
        return [Step("bind the host's read-only", path, Setup.attach, len(sources) - 1, path)]
    if S_ISREG(mode):
        return [Step("bind the host's read-only", path, _bind_file, path, attributes)]
    return []  # a socket or a device in the host's root directory is nobody's program


def _bind_root(setup: Setup) -> None:
    attach_part("root", BASE.value, "/root")
    setup.root_fd = open_in_root(BASE.value, "/root", os.O_PATH)


def _bind_fresh(setup: Setup, path: str, mode: int) -> None:
    part = f"fresh/{path[1:].replace('/', '-')}"
    os.mkdir(part, mode, dir_fd=BASE.value)
    attach_part(part, setup.root_fd, path)


def _make_link(setup: Setup, path: str) -> None:
    os.symlink(os.readlink(path), path[1:], dir_fd=setup.root_fd)


def _overlay_or_bind(setup: Setup, index: int, path: str) -> None:
    attach_lower(setup, index)
    try:
        mount_overlay(index, make_directory(setup.root_fd, path))
    except OSError:
        # Not every file system can be a lower layer. Nothing lasts in this way either.
        lower = f"/proc/self/fd/{BASE.value}/lower/{index}"
        attributes = source_attributes(read_only=True)
        setup.attach_as_is(lower, path, attributes)


def _bind_file(setup: Setup, path: str, attributes: int) -> None:
    try:
        setup.attach_as_is(path, path, attributes)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise
        # Removed since the plan was made.


def _read_mount_points() -> list[str]:
    """Return where something is mounted on the host, as proc(5) has it in mountinfo."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            points = [line.split(b" ")[4] for line in file]
    except OSError as error:
        raise SetupError("read the mounts in ", error.errno or 0, "/proc/self/mountinfo") from error
    # Space, tab, newline and backslash are written as octal escapes, all else as it is.
    return [os.fsdecode(point.decode("unicode_escape").encode("latin-1")) for point in points]
