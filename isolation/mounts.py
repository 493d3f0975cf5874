"""How a file system gets to its place below the new root.

Every destination is resolved by the kernel with the new root as its root (openat2(2),
RESOLVE_IN_ROOT), and mounted on through the descriptor that came out of that. So whatever a
hostile root directory has in a destination's way, `..` or a symbolic link, ends inside of it.

The functions run in the child, before pivot_root, while the host's /proc is still in view. They are
for places in a root that others may have made. What `calls` mount needs none of that: it goes to
directories that the init has just made, see `devices`.

Whoever may write to a root directory may also change it while it is being mounted on: what a
descriptor refers to is then moved away, out of the root, and the mount with it. So what is at the
path is looked at again afterwards.
"""

import os
from errno import EEXIST, EINVAL, EISDIR, ELOOP, ENOENT
from stat import S_ISDIR

from .errors import SetupError
from .syscalls import (
    AT_RECURSIVE,
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_SLAVE,
    OPEN_TREE_CLONE,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    mount_setattr,
    move_mount,
    open_tree,
    openat2,
)

_MAX_LINKS = 40  # MAXSYMLINKS of the kernel
_TRIES = 128  # while others rename what they have
_CHANGED = "what is there leads elsewhere, or somebody changes the rootfs at the same time"
_RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS


class TreeSource:
    """A part of the host's file system that is to appear in the container.

    Attributes:
        path: Absolute path on the host.
        recursive: Whether the mounts below it come along.
        attributes: MOUNT_ATTR_ bits that are set on every mount of it.
        must_map: Whether a file system that can't be ID-mapped is refused; else its files belong
            to nobody in the container.
        nosuid_below: Whether the mounts below it are nosuid, while it stays as it is.
    """

    __slots__ = ("attributes", "must_map", "nosuid_below", "path", "recursive")

    def __init__(
        self,
        path: str,
        *,
        recursive: bool,
        attributes: int,
        must_map: bool = True,
        nosuid_below: bool = False,
    ) -> None:
        self.path, self.recursive, self.attributes = path, recursive, attributes
        self.must_map, self.nosuid_below = must_map, nosuid_below


def source_attributes(*, read_only: bool) -> int:
    """Return the MOUNT_ATTR_ bits for something of the host's."""
    return MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (MOUNT_ATTR_RDONLY if read_only else 0)


def open_source(source: TreeSource, userns_fd: int | None = None) -> int:
    """Clone the mounts at a source into a tree that is attached nowhere.

    Args:
        source: What to clone.
        userns_fd: Where given, the tree is ID-mapped for this user namespace, so that a file of
            root's belongs to the container's root. Only the host's root may ask for that.

    Returns:
        A descriptor for `attach`.
    """
    flags = OPEN_TREE_CLONE | (AT_RECURSIVE if source.recursive else 0)
    tree = open_tree(source.path, flags)
    try:
        if userns_fd is None:
            mount_setattr(tree, source.attributes, recursive=source.recursive)
        else:
            _map_ids(tree, source, userns_fd)
        if source.nosuid_below:
            _take_setuid_below(tree)
    except OSError:
        os.close(tree)
        raise
    return tree


def _map_ids(tree: int, source: TreeSource, userns_fd: int) -> None:
    # Cloned outside of the container's mount namespace, so its mounts are not slaves yet.
    attributes, recursive = source.attributes, source.recursive
    try:
        mount_setattr(
            tree,
            attributes | MOUNT_ATTR_IDMAP,
            recursive=recursive,
            propagation=MS_SLAVE,
            userns_fd=userns_fd,
        )
    except OSError as error:
        if source.must_map or error.errno != EINVAL:
            raise
        mount_setattr(tree, attributes, recursive=recursive, propagation=MS_SLAVE)


def _take_setuid_below(tree: int) -> None:
    """Make every mount of a tree nosuid but the topmost, unless that was before."""
    was_before = os.fstatvfs(tree).f_flag & os.ST_NOSUID
    mount_setattr(tree, MOUNT_ATTR_NOSUID, recursive=True)
    if not was_before:
        mount_setattr(tree, 0, attr_clr=MOUNT_ATTR_NOSUID, recursive=False)


def attach(tree_fd: int, root_fd: int, path: str) -> None:
    """Attach a detached tree at a path below the root, whose last part is made if missing."""
    directory = S_ISDIR(os.stat(tree_fd).st_mode)
    target = make_directory(root_fd, path) if directory else make_file(root_fd, path)
    try:
        move_mount(tree_fd, target)
    finally:
        os.close(target)


def attach_in_view(tree_fd: int, root_fd: int, path: str) -> None:
    """Attach a tree as `attach` does, below a root that has /proc and that others may change.

    Raises:
        SetupError: What is at the path leads to the root, or into /proc: a file system there could
            make the init believe anything. Or somebody moved it meanwhile, and the tree with it.
        OSError: As `attach`.
    """
    directory = S_ISDIR(os.stat(tree_fd).st_mode)
    target = make_directory(root_fd, path) if directory else make_file(root_fd, path)
    try:
        if os.stat(target).st_dev == _stat_in_root(root_fd, "/proc").st_dev:
            raise SetupError("mount on ", 0, path, "what is there leads into /proc")
        check_not_root(target, root_fd, path)
        move_mount(tree_fd, target)
    finally:
        os.close(target)
    check_attached(tree_fd, root_fd, path)


def check_not_root(target: int, root_fd: int, path: str) -> None:
    """Raise SetupError if a path below the root has led to the root itself."""
    if os.path.samestat(os.stat(target), os.stat(root_fd)):
        raise SetupError("mount on ", 0, path, "what is there leads to the root")


def check_attached(tree_fd: int, root_fd: int, path: str) -> None:
    """Raise SetupError if a path below the root does not lead to the root of a tree."""
    try:
        found = open_in_root(root_fd, path, os.O_PATH)
    except OSError:
        raise SetupError("mount on ", 0, path, _CHANGED) from None
    try:
        if _read_mount_id(found) != _read_mount_id(tree_fd):
            raise SetupError("mount on ", 0, path, _CHANGED)
    finally:
        os.close(found)


def _stat_in_root(root_fd: int, path: str) -> os.stat_result:
    fd = open_in_root(root_fd, path, os.O_PATH)
    try:
        return os.stat(fd)
    finally:
        os.close(fd)


def _read_mount_id(fd: int) -> bytes:
    """Return the line about a descriptor's mount: proc(5), /proc/PID/fdinfo."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        return next(line for line in file if line.startswith(b"mnt_id:"))


def open_in_root(root_fd: int, path: str, flags: int) -> int:
    """Open a path as a process would whose root is `root_fd`.

    The kernel gives up on ".." when anybody on the machine renames or mounts something at that
    moment (EAGAIN), so it is asked again.
    """
    for _ in range(_TRIES):
        try:
            return openat2(root_fd, path, flags, _RESOLVE)
        except BlockingIOError:
            continue
    raise SetupError("look up ", 0, path, "it goes on being renamed at the same time")


def make_directory(root_fd: int, path: str) -> int:
    """Return a descriptor of the directory at `path`, made with its parents where missing.

    Raises:
        OSError: ENOTDIR if something else is there, or whatever keeps it from being made.
    """
    return _make(root_fd, path, directory=True, links=_MAX_LINKS)


def make_file(root_fd: int, path: str) -> int:
    """Return a descriptor of what is at `path`; an empty file is made where nothing is.

    Raises:
        OSError: EISDIR if a directory is there, or whatever keeps it from being made.
    """
    fd = _make(root_fd, path, directory=False, links=_MAX_LINKS)
    if S_ISDIR(os.stat(fd).st_mode):
        os.close(fd)
        raise OSError(EISDIR, os.strerror(EISDIR))
    return fd


def _make(root_fd: int, path: str, *, directory: bool, links: int) -> int:
    flags = os.O_PATH | (os.O_DIRECTORY if directory else 0)
    try:
        return open_in_root(root_fd, path, flags)
    except OSError as error:
        if error.errno != ENOENT:
            raise
    if not links:
        raise OSError(ELOOP, os.strerror(ELOOP))
    head, _, name = path.rstrip("/").rpartition("/")
    parent = _make(root_fd, head or "/", directory=True, links=links)
    try:
        link = _make_one(parent, name, directory=directory)
    finally:
        os.close(parent)
    if link is None:
        return open_in_root(root_fd, path, flags)
    # A link to nothing: what it names is to be made, inside, as open(2) with O_CREAT would.
    target = link if link.startswith("/") else f"{head}/{link}"
    return _make(root_fd, target, directory=directory, links=links - 1)


def _make_one(parent: int, name: str, *, directory: bool) -> str | None:
    """Make one entry, or return the text of the dangling symbolic link that stands there."""
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=parent))
    except OSError as error:
        if error.errno != EEXIST:
            raise
        return os.readlink(name, dir_fd=parent)
    return None
