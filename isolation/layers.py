"""What a container writes: one file system in memory, and the layers of it over what it reads.

There is one for each container, so that all it writes is bounded together, wherever it writes: to
a directory, to the host's files, or to the places that are fresh there. For a fresh root it is that
root itself. It is stacked on top of the host's "/", and is let go of with that; what is bound from
it stays.

Source: tmpfs(5), the kernel's Documentation/filesystems/overlayfs.rst; systemd's limits of /run for
the bounds.
"""

import os
from errno import EOPNOTSUPP
from stat import S_IMODE

from . import calls
from .memory import Cell
from .mounts import attach, make_directory, open_in_root
from .steps import Setup
from .syscalls import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MS_NODEV,
    OPEN_TREE_CLONE,
    mount,
    mount_setattr,
    open_tree,
)
from .tape import Call, perform

# Of the memory of the machine, and as many files and directories, which take memory even if empty.
TMPFS_BOUNDS = (("size", "20%"), ("nr_inodes", "800k"))
BASE = Cell(shared=True)  # the file system that holds layers, where there is one

_PARTS = ("lower", "upper", "work", "root", "files", "fresh")
_OVERFLOW_ID = 65534  # what stat(2) shows for an owner that is not mapped


def stack_tmpfs(root: Cell) -> list[Call]:
    """Return the calls that put a file system on top of "/", where absolute paths do not find it.

    Args:
        root: Becomes its descriptor.
    """
    old, options = Cell(-1), [("mode", "0755"), *TMPFS_BOUNDS]
    return [
        *calls.new_mount("tmpfs", options, MOUNT_ATTR_NODEV, to=root),
        calls.open_file("/", os.O_PATH, to=old),
        calls.move_mount(root, old),
        calls.close(old),
    ]


def open_part(part: str) -> int:
    """Return a part of the file system for layers as a tree that can be attached."""
    tree = open_tree(part, OPEN_TREE_CLONE, BASE.value)
    mount_setattr(tree, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, recursive=False)
    return tree


def attach_part(part: str, root_fd: int, path: str) -> None:
    """Bind a directory of the file system for layers at a path below a root."""
    tree = open_part(part)
    attach(tree, root_fd, path)
    os.close(tree)


def overlay_root(setup: Setup, index: int) -> None:
    """Make source number `index` with a layer over it the root."""
    attach_lower(setup, index)
    mount_overlay(index, make_directory(BASE.value, "/root"))
    setup.root_fd = open_in_root(BASE.value, "/root", os.O_PATH)


def bind_root(setup: Setup, index: int) -> None:
    """Make source number `index` the root, which is written through."""
    attach(setup.open_tree(index), BASE.value, "/root")
    setup.root_fd = open_in_root(BASE.value, "/root", os.O_PATH)


def attach_lower(setup: Setup, index: int) -> None:
    """Attach source number `index` where it can be a lower layer, and make its upper one."""
    base = BASE.value
    attach(setup.open_tree(index), base, f"/lower/{index}")
    below = os.stat(f"lower/{index}", dir_fd=base)
    # The merged directory shows the attributes of its upper layer.
    os.mkdir(f"upper/{index}", S_IMODE(below.st_mode), dir_fd=base)
    if _OVERFLOW_ID not in {below.st_uid, below.st_gid}:
        os.chown(f"upper/{index}", below.st_uid, below.st_gid, dir_fd=base)
    os.mkdir(f"work/{index}", 0o755, dir_fd=base)


def mount_overlay(index: int, target: int) -> None:
    """Mount the layers of source number `index` on a descriptor, which is closed.

    The paths of the layers are relative, so that no directory's name needs to be escaped.
    """
    os.fchdir(BASE.value)
    layers = f"lowerdir=lower/{index},upperdir=upper/{index},workdir=work/{index},userxattr"
    mount("overlay", f"/proc/self/fd/{target}", "overlay", MS_NODEV, layers)
    os.close(target)


# Makes the file system for layers, and the directories in it; the same for every container.
STACK_BASE = (
    *stack_tmpfs(BASE),
    *(calls.mkdirat(BASE, name, 0o755) for name in _PARTS),
)


def try_bounds() -> None:
    """Mount a file system in memory as containers have it, in the caller's new mount namespace.

    Raises:
        OSError: The kernel takes none there, or EOPNOTSUPP: one without a bound.
    """
    root = Cell(-1)
    perform(stack_tmpfs(root))
    room = os.fstatvfs(root.value)
    if not room.f_blocks or not room.f_files:
        raise OSError(EOPNOTSUPP, os.strerror(EOPNOTSUPP))


def try_overlay() -> None:
    """Mount an overlay in the caller's mount namespace, which must be a new one.

    Raises:
        OSError: The kernel takes none there.
    """
    perform(STACK_BASE)
    os.fchdir(BASE.value)
    mount("overlay", "root", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work,userxattr")
