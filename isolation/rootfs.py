"""What the container finds at /: a fresh busybox root, a directory, or the host's files.

Nothing that a container writes to its root outlasts it, unless it was asked for (`rw`): a fresh
root is a tmpfs; a directory and the host are the lower layers of overlays whose upper layer is a
tmpfs. All of that is mounted in the container's own mount namespace and goes away with it.

The new root is stacked on top of the old one at "/". The old root stays reachable by absolute
paths meanwhile, because a lookup that starts at a process's root does not follow mounts on it; so
no directory of the host is needed as a mount point.

The host as a root: overlay does not take "/" itself as a lower layer in a user namespace (its
mounts are locked together), but takes each top-level directory that has no mounts below it. The
others are bound read-only. For an ordinary user a file whose owner is not mapped can't be copied
up, so the system's files are read-only in effect and the user's own are copy-on-write.

Source: mount_namespaces(7), the kernel's Documentation/filesystems/overlayfs.rst.
"""

import os
from errno import EACCES, EOVERFLOW, EPERM, EROFS
from stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG

from . import calls
from .busybox import Busybox
from .errors import SetupError
from .etc_files import render_network_files, render_user_files
from .memory import Cell
from .mounts import (
    TreeSource,
    attach,
    make_directory,
    make_file,
    mount_new,
    open_in_root,
    source_attributes,
)
from .spec import ContainerSpec
from .steps import ROOT, Setup, Step
from .syscalls import (
    MOUNT_ATTR_NODEV,
    MS_NODEV,
    MS_NOSUID,
    OPEN_TREE_CLONE,
    mount,
    move_mount,
    open_tree,
)
from .tape import Call, perform

_OVERFLOW_ID = 65534  # what stat(2) shows for an owner that is not mapped
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
_COPY_CHUNK = 2**24  # bytes a sendfile(2) call; busybox fits in one

KERNEL_DIRECTORIES = ("dev", "proc", "sys")  # mounted anew in every container
FRESH_ON_HOST = {"/tmp": 0o1777, "/run": 0o755, "/var/tmp": 0o1777}

# By busybox; the same for container after container.
_prepared: dict[tuple[str, tuple[str, ...], bool], list[Step]] = {}


def plan_rootfs(
    spec: ContainerSpec, sources: list[TreeSource], busybox: Busybox | None
) -> list[Step]:
    """Return the steps that put the root in place, files of /etc included.

    Args:
        spec: What was asked for.
        sources: Grows by what of the host is needed.
        busybox: Needed for the root of that name.

    Raises:
        SetupError: The directory is missing or is none.
    """
    if busybox is not None:
        return _plan_busybox(spec, busybox)
    if spec.rootfs == "host":
        return _plan_host(spec, sources)
    return _plan_directory(spec, sources)


def _plan_busybox(spec: ContainerSpec, busybox: Busybox) -> list[Step]:
    # Who could write to the binary on the host gets a copy: a bind mount can be made writable.
    writable = os.geteuid() != 0 and os.access(busybox.path, os.W_OK)
    key = busybox.path, busybox.applets, writable or spec.userns == "host"
    if key not in _prepared:
        _prepared.clear()
        _prepared[key] = _plan_fresh_root(*key)
    return _prepared[key]


def write_network_files(spec: ContainerSpec) -> Step:
    """Return the step that writes what a fresh root has in /etc about the network."""
    files = render_network_files(spec)
    action = f"write {', '.join(files)} in "
    return Step(action, "/etc", calls=_write_files(files))


def _plan_fresh_root(path: str, applets: tuple[str, ...], copy: bool) -> list[Step]:
    files = render_user_files()
    if copy:
        place = Step(f"copy {path}", "/bin/busybox", _copy_busybox, path)
    else:
        place = Step(f"bind {path}", "/bin/busybox", calls=tuple(_bind_busybox(path)))
    return [
        Step("mount tmpfs", "/", calls=(*_stack_tmpfs(ROOT), calls.fchdir(ROOT))),
        Step("make the usual directories in ", "/", calls=tuple(_make_fresh_directories())),
        place,
        Step(f"link {len(applets)} applets in ", "/bin", calls=tuple(_link_applets(applets))),
        Step(f"write {', '.join(files)} in ", "/etc", calls=tuple(_write_files(files))),
    ]


def _plan_directory(spec: ContainerSpec, sources: list[TreeSource]) -> list[Step]:
    try:
        mode = os.stat(spec.rootfs).st_mode
    except OSError as error:
        raise SetupError("open the rootfs ", error.errno or 0, spec.rootfs) from error
    if not S_ISDIR(mode):
        raise SetupError("use the rootfs ", 0, spec.rootfs, "it is not a directory")
    writable = spec.rootfs_mode == "rw"
    index, files = len(sources), render_network_files(spec)
    sources.append(TreeSource(spec.rootfs, recursive=writable, attributes=MOUNT_ATTR_NODEV))
    if writable:
        place = Step(f"bind {spec.rootfs}", "/", _bind_root, index)
    else:
        place = Step(f"overlay {spec.rootfs}", "/", _overlay_root, index)
    return [
        Step("mount tmpfs for what is not the directory's", "", _mount_base),
        place,
        # A directory that is written through gets no file that it does not have.
        Step(f"bind {', '.join(files)}", "/etc", _bind_files, files, not writable),
    ]


def _plan_host(spec: ContainerSpec, sources: list[TreeSource]) -> list[Step]:
    steps = [
        Step("mount tmpfs for the layers that are written to", "", _mount_base),
        Step("mount tmpfs", "/", _mount_host_root),
    ]
    mount_points = _read_mount_points()
    for name in sorted(os.listdir("/")):
        path = f"/{name}"
        if name not in KERNEL_DIRECTORIES and path not in FRESH_ON_HOST:
            below = any(point.startswith(f"{path}/") for point in mount_points)
            steps += _plan_host_entry(path, sources, mounts_below=below)
    for path, mode in FRESH_ON_HOST.items():
        steps.append(Step("mount tmpfs", path, _mount_fresh, path, mode))
    files = render_network_files(spec)
    return [*steps, Step(f"bind {', '.join(files)}", "/etc", _bind_files, files, True)]


def _plan_host_entry(path: str, sources: list[TreeSource], *, mounts_below: bool) -> list[Step]:
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
        return [Step("bind the host's read-only", path, _bind_host_entry, path, attributes)]
    return []  # a socket or a device in the host's root directory is nobody's program


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
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    target = os.open("bin/busybox", flags, 0o755, dir_fd=setup.root_fd)
    while os.sendfile(target, source, None, _COPY_CHUNK):
        pass
    os.close(target)
    os.close(source)


def _link_applets(names: tuple[str, ...]) -> list[Call]:
    directory = Cell(-1)
    return [
        calls.openat(ROOT, "bin", os.O_PATH, to=directory),
        calls.fchdir(directory),
        calls.symlinkat("busybox", directory, names[0]),
        # More names of the one link: a fifth less time, and a quarter of the kernel's memory.
        calls.link(names[0], names[1:]),
        calls.close(directory),
        calls.fchdir(ROOT),
    ]


def _write_files(files: dict[str, str]) -> list[Call]:
    file, made = Cell(-1), []
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    for name, text in files.items():
        made.append(calls.openat(ROOT, f"etc/{name}", flags, 0o644, to=file))
        if text:
            made.append(calls.write(file, text.encode("utf-8", "surrogateescape")))
        made.append(calls.close(file))
    return made


def _mount_base(setup: Setup) -> None:
    setup.base_fd = _stack_base()
    for name in ("lower", "upper", "work", "root", "files"):
        os.mkdir(name, 0o755, dir_fd=setup.base_fd)


def _mount_host_root(setup: Setup) -> None:
    mount_new(setup.base_fd, "/root", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    setup.root_fd = open_in_root(setup.base_fd, "/root", os.O_PATH)


def _mount_fresh(setup: Setup, path: str, mode: int) -> None:
    setup.mount_new(path, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode:o}")


def _make_link(setup: Setup, path: str) -> None:
    os.symlink(os.readlink(path), path[1:], dir_fd=setup.root_fd)


def _bind_root(setup: Setup, index: int) -> None:
    attach(setup.open_tree(index), setup.base_fd, "/root")
    setup.root_fd = open_in_root(setup.base_fd, "/root", os.O_PATH)


def _overlay_root(setup: Setup, index: int) -> None:
    _attach_lower(setup, index)
    _mount_overlay(setup, index, make_directory(setup.base_fd, "/root"))
    setup.root_fd = open_in_root(setup.base_fd, "/root", os.O_PATH)


def _overlay_or_bind(setup: Setup, index: int, path: str) -> None:
    _attach_lower(setup, index)
    try:
        _mount_overlay(setup, index, make_directory(setup.root_fd, path))
    except OSError:
        # Not every file system can be a lower layer. Nothing lasts in this way either.
        lower = f"/proc/self/fd/{setup.base_fd}/lower/{index}"
        attributes = source_attributes(read_only=True)
        setup.attach_as_is(lower, path, attributes, recursive=False)


def _bind_host_entry(setup: Setup, path: str, attributes: int) -> None:
    try:
        setup.attach_as_is(path, path, attributes, recursive=False)
    except FileNotFoundError:
        if os.path.lexists(path):
            raise
        # Removed since the plan was made.


def _attach_lower(setup: Setup, index: int) -> None:
    """Attach source number `index` where it can be a lower layer, and make its upper one."""
    base = setup.base_fd
    attach(setup.open_tree(index), base, f"/lower/{index}")
    below = os.stat(f"lower/{index}", dir_fd=base)
    # The merged directory shows the attributes of its upper layer.
    os.mkdir(f"upper/{index}", S_IMODE(below.st_mode), dir_fd=base)
    if _OVERFLOW_ID not in {below.st_uid, below.st_gid}:
        os.chown(f"upper/{index}", below.st_uid, below.st_gid, dir_fd=base)
    os.mkdir(f"work/{index}", 0o755, dir_fd=base)


def _mount_overlay(setup: Setup, index: int, target: int) -> None:
    """Mount the layers of source number `index` on a descriptor, which is closed.

    The paths of the layers are relative, so that no directory's name needs to be escaped.
    """
    os.fchdir(setup.base_fd)
    layers = f"lowerdir=lower/{index},upperdir=upper/{index},workdir=work/{index},userxattr"
    mount("overlay", f"/proc/self/fd/{target}", "overlay", MS_NODEV, layers)
    os.close(target)


def _bind_files(setup: Setup, files: dict[str, str], create: bool) -> None:
    for name, text in files.items():
        target = _open_file(setup.root_fd, f"/etc/{name}", create=create)
        if target < 0:
            continue
        _write_file(setup.base_fd, f"files/{name}", text)
        tree = open_tree(f"files/{name}", OPEN_TREE_CLONE, setup.base_fd)
        move_mount(tree, target)
        os.close(tree)
        os.close(target)


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


def _stack_tmpfs(root: Cell) -> list[Call]:
    old = Cell(-1)
    return [
        *calls.new_mount("tmpfs", [("mode", "0755")], to=root),
        calls.open_file("/", os.O_PATH, to=old),
        calls.move_mount(root, old),
        calls.close(old),
    ]


def _stack_base() -> int:
    base = Cell(-1)
    perform(_stack_tmpfs(base))
    return base.value


def _write_file(dir_fd: int, path: str, text: str) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    fd = os.open(path, flags, 0o644, dir_fd=dir_fd)
    data = text.encode("utf-8", "surrogateescape")
    while data:  # the first write stops at a limit, the second says which
        data = data[os.write(fd, data) :]
    os.close(fd)


def _read_mount_points() -> list[str]:
    """Return where something is mounted on the host, as proc(5) has it in mountinfo."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            points = [line.split(b" ")[4] for line in file]
    except OSError as error:
        raise SetupError("read the mounts in ", error.errno or 0, "/proc/self/mountinfo") from error
    # Space, tab, newline and backslash are written as octal escapes, all else as it is.
    return [os.fsdecode(point.decode("unicode_escape").encode("latin-1")) for point in points]


def try_overlay() -> None:
    """Mount an overlay in the caller's mount namespace, which must be a new one.

    Raises:
        OSError: The kernel takes none there.
    """
    base = _stack_base()
    os.fchdir(base)
    for name in ("lower", "upper", "work", "root"):
        os.mkdir(name, dir_fd=base)
    mount("overlay", "root", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work,userxattr")
