"""What the container finds at /: a fresh busybox root, a directory, or the host's files.

Nothing that a container writes to its root outlasts it, unless it was asked for (`rw`): a fresh
root is a tmpfs, and its /bin may be an overlay over what others have, too, see `applets`; a
directory and the host are the lower layers of overlays whose upper layer is one, see `layers`. All
of that is mounted in the container's own mount namespace and goes away with it.

The new root is stacked on top of the old one at "/". The old root stays reachable by absolute
paths meanwhile, because a lookup that starts at a process's root does not follow mounts on it; so
no directory of the host is needed as a mount point.

Source: mount_namespaces(7), path_resolution(7).
"""

import os
from errno import EACCES, EOVERFLOW, EPERM, EROFS
from stat import S_ISDIR

from . import calls
from .applets import copy_busybox, link_applets, overlay_applets
from .busybox import Busybox
from .errors import SetupError
from .etc_files import render_network_files, render_user_files
from .host_root import plan_host_root
from .layers import BASE, STACK_BASE, bind_root, open_part, overlay_root, stack_tmpfs
from .memory import Cell
from .mounts import TreeSource, check_attached, make_file, open_in_root, source_attributes
from .spec import ContainerSpec
from .steps import ROOT, Setup, Step
from .syscalls import MOUNT_ATTR_NODEV, move_mount
from .tape import Call, keep_own

FRESH_DIRECTORIES = {
    "bin": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr": 0o755,
    "var": 0o755,
    "var/tmp": 0o1777,
}
FRESH_LINKS = {"sbin": "bin", "usr/bin": "../bin", "usr/sbin": "../bin", "var/run": "../run"}
_MOST_PREPARED = 6  # roots: busybox bound, copied and shared, and those of the one before

# The same for container after container.
_prepared: dict[tuple[object, ...], list[Step]] = {}


def plan_rootfs(
    spec: ContainerSpec,
    sources: list[TreeSource],
    busybox: Busybox | None,
    *,
    shares_applets: bool = False,
) -> list[Step]:
    """Return the steps that put the root in place, files of /etc included.

    Args:
        spec: What was asked for.
        sources: Grows by what of the host is needed.
        busybox: Needed for the root of that name.
        shares_applets: Whether the init gets a tree with it, see `applets`.

    Raises:
        SetupError: The directory is missing or is none.
    """
    if busybox is not None:
        return _plan_busybox(spec, busybox, shares_applets)
    if spec.rootfs == "host":
        steps, create = plan_host_root(sources), True
    else:
        steps, create = _plan_directory(spec, sources), spec.rootfs_mode == "overlay"
    files = tuple(render_network_files(spec).items())
    # A directory that is written through gets no file that it does not have.
    names = ", ".join(name for name, _ in files)
    return [*steps, Step(f"bind {names}", "/etc", _bind_files, files, create)]


def _plan_busybox(spec: ContainerSpec, busybox: Busybox, shares_applets: bool) -> list[Step]:
    # Who could write to the binary on the host gets a copy: a bind mount can be made writable.
    writable = os.geteuid() != 0 and os.access(busybox.path, os.W_OK)
    copy = not shares_applets and (writable or spec.userns == "host")
    key = busybox.path, busybox.applets, copy, shares_applets
    if key not in _prepared:
        if len(_prepared) == _MOST_PREPARED:
            _prepared.clear()
        _prepared[key] = _plan_fresh_root(*key)
    return _prepared[key]


def write_network_files(spec: ContainerSpec) -> Step:
    """Return the step that writes what a fresh root has in /etc about the network."""
    files = render_network_files(spec)
    action = f"write {', '.join(files)} in "
    return Step(action, "/etc", calls=keep_own(_write_files, tuple(files.items())))


def _plan_fresh_root(
    path: str, applets: tuple[str, ...], copy: bool, shares_applets: bool
) -> list[Step]:
    files = tuple(render_user_files().items())
    names = ", ".join(name for name, _ in files)
    if shares_applets:
        placed = [Step("overlay busybox and its applets", "/bin", calls=overlay_applets())]
    else:
        if copy:
            place = Step(f"copy {path}", "/bin/busybox", _copy_busybox, path)
        else:
            place = Step(f"bind {path}", "/bin/busybox", calls=tuple(_bind_busybox(path)))
        action = f"link {len(applets)} applets in "
        placed = [place, Step(action, "/bin", calls=link_applets(applets))]
    return [
        Step("mount tmpfs", "/", calls=(*stack_tmpfs(ROOT), calls.fchdir(ROOT))),
        Step("make the usual directories in ", "/", calls=tuple(_make_fresh_directories())),
        *placed,
        Step(f"write {names} in ", "/etc", calls=tuple(_write_files(files))),
    ]


def _plan_directory(spec: ContainerSpec, sources: list[TreeSource]) -> list[Step]:
    try:
        mode = os.stat(spec.rootfs).st_mode
    except OSError as error:
        raise SetupError("open the rootfs ", error.errno or 0, spec.rootfs) from error
    if not S_ISDIR(mode):
        raise SetupError("use the rootfs ", 0, spec.rootfs, "it is not a directory")
    writable = spec.rootfs_mode == "rw"
    index = len(sources)
    sources.append(
        TreeSource(
            spec.rootfs, recursive=writable, attributes=MOUNT_ATTR_NODEV, nosuid_below=writable
        )
    )
    if writable:
        place = Step(f"bind {spec.rootfs}", "/", bind_root, index)
    else:
        place = Step(f"overlay {spec.rootfs}", "/", overlay_root, index)
    return [Step("mount tmpfs for what is not the directory's", "", calls=STACK_BASE), place]


def _make_fresh_directories() -> list[Call]:
    return [
        *(calls.mkdirat(ROOT, name, mode) for name, mode in FRESH_DIRECTORIES.items()),
        *(calls.symlinkat(target, ROOT, name) for name, target in FRESH_LINKS.items()),
    ]


def _bind_busybox(path: str) -> list[Call]:
    tree, target = Cell(-1), Cell(-1)
    flags = os.O_CREAT | os.O_EXCL | os.O_RDONLY
    return [
        calls.openat(ROOT, "bin/busybox", flags, 0o755, to=target),
        calls.open_tree(path, to=tree),
        calls.mount_setattr(tree, source_attributes(read_only=True)),
        calls.move_mount(tree, target),
        calls.close(tree),
        calls.close(target),
    ]


def _copy_busybox(setup: Setup, path: str) -> None:
    copy_busybox(path, setup.root_fd, "bin")


def _write_files(files: tuple[tuple[str, str], ...]) -> list[Call]:
    file, made = Cell(-1), []
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    for name, text in files:
        made.append(calls.openat(ROOT, f"etc/{name}", flags, 0o644, to=file))
        if text:
            made.append(calls.write(file, text.encode("utf-8", "surrogateescape")))
        made.append(calls.close(file))
    return made


def _bind_files(setup: Setup, files: tuple[tuple[str, str], ...], create: bool) -> None:
    for name, text in files:
        path = f"/etc/{name}"
        target = _open_file(setup.root_fd, path, create=create)
        if target < 0:
            continue
        _write_file(BASE.value, f"files/{name}", text)
        tree = open_part(f"files/{name}")
        move_mount(tree, target)
        os.close(target)
        check_attached(tree, setup.root_fd, path)
        os.close(tree)


def _open_file(root_fd: int, path: str, *, create: bool) -> int:
    """Return a descriptor of a file that is there, or can be made; else -1."""
    try:
        return open_in_root(root_fd, path, os.O_PATH)
    except OSError:
        if not create:
            return -1
    try:
        return make_file(root_fd, path)
    except OSError as error:
        # Not the container's to write to: then it has the files that it came with.
        if error.errno in {EACCES, EOVERFLOW, EPERM, EROFS}:
            return -1
        raise


def _write_file(dir_fd: int, path: str, text: str) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    fd = os.open(path, flags, 0o644, dir_fd=dir_fd)
    data = text.encode("utf-8", "surrogateescape")
    while data:  # the first write stops at a limit, the second says which
        data = data[os.write(fd, data) :]
    os.close(fd)
