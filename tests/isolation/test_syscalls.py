import fcntl
import os
import signal
from errno import EINVAL, ENODEV, ENOENT, ENOTDIR, EPERM, EROFS, EXDEV
from pathlib import Path

import pytest

from mocker.isolation import syscalls
from mocker.isolation.syscalls import (
    ALL_SEALS,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    F_ADD_SEALS,
    MOUNT_ATTR_RDONLY,
    MS_RDONLY,
    OPEN_TREE_CLONE,
    P_PIDFD,
    PR_GET_NO_NEW_PRIVS,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    clone3,
    close_all_but,
    memfd_create,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    openat2,
    pidfd_open,
    pidfd_send_signal,
    prctl,
    set_child_subreaper,
    set_process_name,
    unshare,
)
from tests.in_namespaces import InNewNamespaces, run_in_child
from tests.requirements import requires_user_namespaces

PR_SET_NO_NEW_PRIVS = 38
RESOLVE_NO_XDEV = 0x01


def read_status(key: str) -> str:
    """Return a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{key}:"))


def test_clone_goes_on_as_a_child_that_a_descriptor_stands_for() -> None:
    pid, pidfd = clone3(0, signal.SIGCHLD)
    if pid == 0:
        os._exit(42)

    result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)

    inherited = os.get_inheritable(pidfd)
    os.close(pidfd)
    assert result is not None
    assert (result.si_pid, result.si_status, inherited) == (pid, 42, False)


def test_clone_into_the_parents_place_makes_a_sibling() -> None:
    def act() -> int:
        pid, pidfd = clone3(syscalls.CLONE_PARENT, 0)
        if pid == 0:
            signal.pause()
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return pid if parent == os.getppid() else -parent

    sibling = run_in_child(act)

    assert os.waitpid(sibling, 0) == (sibling, signal.SIGKILL)


def test_descriptor_of_a_process_takes_signals_and_is_not_handed_on() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()

    pidfd = pidfd_open(pid)
    pidfd_send_signal(pidfd, signal.SIGTERM)

    assert os.waitid(P_PIDFD, pidfd, os.WEXITED).si_status == signal.SIGTERM  # type: ignore[union-attr]
    assert not os.get_inheritable(pidfd)
    with pytest.raises(ProcessLookupError):
        pidfd_send_signal(pidfd, signal.SIGTERM)
    with pytest.raises(ProcessLookupError):
        pidfd_open(pid)
    os.close(pidfd)


def test_file_in_memory_can_be_sealed_and_is_not_handed_on() -> None:
    fd = memfd_create("entry")
    os.write(fd, b"content")

    fcntl.fcntl(fd, F_ADD_SEALS, ALL_SEALS)

    assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == (
        fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    )
    assert not os.get_inheritable(fd)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"C", 0)
    os.close(fd)


@requires_user_namespaces
def test_clone_makes_namespaces() -> None:
    pid, pidfd = clone3(CLONE_NEWUSER | CLONE_NEWUTS, signal.SIGCHLD)
    if pid == 0:
        signal.pause()

    own, new = (Path(f"/proc/{who}/ns/uts").readlink() for who in ("self", pid))

    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(pidfd)
    assert own != new


def test_clone_that_the_kernel_refuses_is_an_error() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        clone3(0x1_0000_0000_0000, signal.SIGCHLD)


@requires_user_namespaces
def test_file_system_is_mounted_with_its_flags(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> bool:
        mount("none", "/mnt", "tmpfs", MS_RDONLY, "mode=0700")
        return os.path.ismount("/mnt") and bool(os.statvfs("/mnt").f_flag & os.ST_RDONLY)

    assert in_new_namespaces(act)


@requires_user_namespaces
@pytest.mark.parametrize(
    ("target", "fstype", "data", "errno"),
    [
        ("/no/such/place", "tmpfs", "", ENOENT),
        ("/dev/null", "tmpfs", "", ENOTDIR),
        ("/mnt", "no-such-type", "", ENODEV),
        ("/mnt", "tmpfs", "no-such-option", EINVAL),
    ],
)
def test_mount_that_the_kernel_refuses_has_its_errno(
    in_new_namespaces: InNewNamespaces, target: str, fstype: str, data: str, errno: int
) -> None:
    def act() -> int:
        try:
            mount("none", target, fstype, 0, data)
        except OSError as error:
            return error.errno or 0
        return 0

    assert in_new_namespaces(act) == errno


@requires_user_namespaces
def test_path_of_any_bytes_can_be_mounted_on(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> bool:
        mount("none", "/mnt", "tmpfs")
        place = os.fsdecode(b"/mnt/\xff a\n")
        Path(place).mkdir()
        mount("none", place, "tmpfs")
        return os.path.ismount(place)

    assert in_new_namespaces(act)


@requires_user_namespaces
def test_tree_is_cloned_and_attached_by_descriptors(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> tuple[bool, bool]:
        mount("none", "/mnt", "tmpfs")
        Path("/mnt/from").mkdir()
        Path("/mnt/from/file").touch()
        Path("/mnt/to").mkdir()
        mnt = os.open("/mnt", os.O_PATH)
        tree = open_tree("from", OPEN_TREE_CLONE, mnt)
        closed = not os.get_inheritable(tree)
        move_mount(tree, os.open("/mnt/to", os.O_PATH))
        return Path("/mnt/to/file").exists(), closed

    assert in_new_namespaces(act) == (True, True)


@requires_user_namespaces
def test_mount_becomes_read_only(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> None:
        mount("none", "/mnt", "tmpfs")
        mnt = os.open("/mnt", os.O_PATH)
        mount_setattr(mnt, MOUNT_ATTR_RDONLY, recursive=False)
        Path("/mnt/new").touch()

    with pytest.raises(OSError, match=os.strerror(EROFS)):
        in_new_namespaces(act)


def test_attributes_of_what_is_no_mount_cannot_be_set(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_PATH)
    try:
        with pytest.raises(OSError, match=f"{os.strerror(EINVAL)}|{os.strerror(EPERM)}"):
            mount_setattr(directory, MOUNT_ATTR_RDONLY, recursive=False)
    finally:
        os.close(directory)


def test_file_is_opened_below_a_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("inside")
    (tmp_path / "link").symlink_to("/etc/passwd")
    root = os.open(tmp_path, os.O_PATH)

    fd = openat2(root, "/../link", os.O_RDONLY, RESOLVE_IN_ROOT)

    text, inherited = os.read(fd, 100), os.get_inheritable(fd)
    os.close(fd)
    os.close(root)
    assert (text, inherited) == (b"inside", False)


@pytest.mark.parametrize(
    ("path", "resolve", "errno"),
    [
        ("/proc/self/stat", RESOLVE_IN_ROOT | RESOLVE_NO_XDEV, EXDEV),
        ("/proc/self/root", RESOLVE_NO_MAGICLINKS, 40),
        ("/no/such/file", 0, ENOENT),
    ],
)
def test_file_that_may_not_be_reached_is_refused(path: str, resolve: int, errno: int) -> None:
    root = os.open("/", os.O_PATH)
    try:
        with pytest.raises(OSError, match=os.strerror(errno)):
            openat2(root, path, os.O_RDONLY, resolve)
    finally:
        os.close(root)


@pytest.mark.parametrize(
    ("kept", "first", "left"),
    [
        ((101,), 100, [101]),
        ((100,), 100, [100]),
        ((103,), 100, [103]),
        ((101, 103), 100, [101, 103]),
        ((103, 101), 100, [101, 103]),
        ((102, 103), 102, [100, 101, 102, 103]),
        ((102,), 101, [100, 102]),
    ],
)
def test_all_descriptors_but_those_to_keep_are_closed(
    kept: tuple[int, ...], first: int, left: list[int]
) -> None:
    def act() -> list[int]:
        for number in (100, 101, 102, 103):
            os.dup2(0, number)
        close_all_but(*kept, first=first)
        return [number for number in range(100, 104) if is_open(number)]

    assert run_in_child(act) == left


def is_open(fd: int) -> bool:
    return Path(f"/proc/self/fd/{fd}").exists()


@requires_user_namespaces
def test_process_leaves_its_namespaces() -> None:
    def act() -> bool:
        before = Path("/proc/self/ns/uts").readlink()
        unshare(CLONE_NEWUSER | CLONE_NEWUTS)
        return before != Path("/proc/self/ns/uts").readlink()

    assert run_in_child(act)


def test_namespaces_that_do_not_exist_cannot_be_entered() -> None:
    with pytest.raises(OSError, match=os.strerror(EINVAL)):
        unshare(1)


def test_option_of_the_process_is_set_and_read() -> None:
    def act() -> tuple[int, int]:
        before = prctl(PR_GET_NO_NEW_PRIVS)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        return before, prctl(PR_GET_NO_NEW_PRIVS)

    assert run_in_child(act) == (0, 1)


def test_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(OSError, match=os.strerror(EINVAL)):
        prctl(999_999)


def test_subreaper_adopts_orphans() -> None:
    def act() -> bool:
        set_child_subreaper()
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            orphan = os.fork()
            if orphan:
                os.write(write_end, str(orphan).encode())
            os._exit(0)
        os.waitpid(child, 0)
        orphan = int(os.read(read_end, 20))
        return os.waitpid(orphan, 0) == (orphan, 0)

    assert run_in_child(act)


def test_process_has_the_first_fifteen_bytes_of_its_name() -> None:
    def act() -> str:
        set_process_name("a-name-that-is-long")
        return read_status("Name")

    assert run_in_child(act) == "a-name-that-is-"
