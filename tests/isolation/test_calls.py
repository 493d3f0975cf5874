import os
import resource
import signal
import socket
import struct
from contextlib import suppress
from errno import EACCES, EBADF, EFBIG, EINVAL, EIO, ENODEV, ENOENT, ENOSPC, ENOTDIR, EPERM
from pathlib import Path

import pytest

from mocker.isolation import calls, process_calls
from mocker.isolation.memory import Buffer, Cell
from mocker.isolation.syscalls import (
    CLONE_NEWNET,
    CLONE_NEWUTS,
    CLOSE_RANGE_CLOEXEC,
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    MS_RDONLY,
    mount,
    unshare,
)
from mocker.isolation.tape import Call, perform
from tests.in_namespaces import InNewNamespaces, run_in_child
from tests.leaks import read_descriptors
from tests.performed import errno_of
from tests.requirements import requires_user_namespaces

SIOCGIFFLAGS = 0x8913
IFF_LOOPBACK = 0x8
TIOCGWINSZ = 0x5413

Lists = list[Call]


def is_open(fd: int) -> bool:
    return Path(f"/proc/self/fd/{fd}").exists()


# A list of calls.


def test_calls_are_made_in_their_order() -> None:
    made: list[int] = []

    perform([calls.then(made.append, number) for number in range(4)])

    assert made == [0, 1, 2, 3]


def test_nothing_is_done_before_it_is_performed() -> None:
    made: list[int] = []

    calls.then(made.append, 1)
    calls.close(0)

    assert made == []
    assert is_open(0)


def test_call_that_fails_ends_the_list_with_its_errno() -> None:
    made: list[int] = []
    prepared = [calls.then(made.append, 1), calls.chdir("/no/such"), calls.then(made.append, 2)]

    with pytest.raises(FileNotFoundError) as info:
        perform(prepared)

    assert info.value.strerror == os.strerror(ENOENT)
    assert made == [1]


def test_errors_that_are_tolerated_do_not_end_the_list() -> None:
    made: list[int] = []
    attempt = process_calls.execve(
        "/no/such", *process_calls.encode_words(["x"], {}), tolerated=(EACCES, ENOENT)
    )

    perform([attempt, calls.then(made.append, 1)])

    assert made == [1]


def test_other_errors_than_those_tolerated_end_the_list() -> None:
    attempt = process_calls.execve(
        "/no/such", *process_calls.encode_words(["x"], {}), tolerated=(EACCES,)
    )

    assert errno_of(attempt) == ENOENT


def test_errno_is_the_calls_own_whatever_failed_before() -> None:
    attempt = process_calls.execve(
        "/no/such", *process_calls.encode_words(["x"], {}), tolerated=(ENOENT,)
    )

    assert errno_of(attempt, calls.fchdir(Cell(-1))) == EBADF


def test_what_a_python_function_raises_ends_the_list() -> None:
    made: list[int] = []

    with pytest.raises(ZeroDivisionError):
        perform([calls.then(divmod, 1, 0), calls.then(made.append, 1)])

    assert made == []


def test_result_of_a_call_is_there_for_the_next(tmp_path: Path) -> None:
    directory = Cell(-1)
    prepared = [
        calls.open_file(str(tmp_path), os.O_PATH, to=directory),
        calls.mkdirat(directory, "made", 0o755),
        calls.close(directory),
    ]

    perform(prepared)

    assert (tmp_path / "made").is_dir()
    assert not is_open(directory.value)


def test_list_serves_any_number_of_times(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = Cell(-1)
    flags = os.O_WRONLY | os.O_APPEND
    prepared = [
        calls.open_file(f"{tmp_path}/file", flags, to=file),
        calls.write(file, b"one"),
        calls.close(file),
    ]

    perform(prepared)
    perform(prepared)

    assert (tmp_path / "file").read_bytes() == b"oneone"


def test_child_writes_to_its_own_copy_of_a_result() -> None:
    pid = Cell(-1)

    def act() -> int:
        perform([calls.open_file("/", os.O_PATH, to=pid)])
        return pid.value

    assert run_in_child(act) >= 0
    assert pid.value == -1


def test_write_that_is_cut_short_says_why() -> None:
    def act() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        return errno_of(calls.write(Cell(os.memfd_create("limited")), b"x" * 100))

    assert run_in_child(act) == EFBIG


def test_call_that_is_cut_short_again_is_an_error() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"three")
    os.close(write_end)

    errno = errno_of(calls.read(Cell(read_end), Buffer(8)))

    os.close(read_end)
    assert errno == EIO


# Files.


def test_files_are_opened_and_not_inherited(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")

    def act() -> tuple[list[bytes], list[bool]]:
        root, cells = Cell(-1), [Cell(-1), Cell(-1)]
        perform(
            [
                calls.open_file(str(tmp_path), os.O_PATH, to=root),
                calls.open_file(f"{tmp_path}/file", os.O_RDONLY, to=cells[0]),
                calls.openat(root, "file", os.O_RDONLY, to=cells[1]),
            ]
        )
        fds = [cell.value for cell in cells]
        return [os.read(fd, 9) for fd in fds], [os.get_inheritable(fd) for fd in fds]

    assert run_in_child(act) == ([b"text"] * 2, [False] * 2)


def test_file_is_made_with_its_mode(tmp_path: Path) -> None:
    def act() -> None:
        root, file = Cell(os.open(tmp_path, os.O_PATH)), Cell(-1)
        perform([process_calls.umask(0)])
        perform([calls.openat(root, "new", os.O_CREAT | os.O_EXCL, 0o751, to=file)])

    run_in_child(act)

    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o751


def test_directory_is_gone_to_by_path_or_descriptor(tmp_path: Path) -> None:
    def act() -> tuple[Path, Path]:
        perform([calls.chdir(str(tmp_path))])
        by_path = Path.cwd()
        perform([calls.fchdir(Cell(os.open("/usr", os.O_PATH)))])
        return by_path, Path.cwd()

    assert run_in_child(act) == (tmp_path, Path("/usr"))


def test_directories_and_links_are_made_with_names_of_any_bytes(tmp_path: Path) -> None:
    directory, name = Cell(os.open(tmp_path, os.O_PATH)), os.fsdecode(b"\xff a\n")

    perform(
        [calls.mkdirat(directory, name, 0o700), calls.symlinkat(name, directory, f"{name}link")]
    )

    os.close(directory.value)
    assert (tmp_path / name).stat().st_mode & 0o7777 == 0o700
    assert str((tmp_path / f"{name}link").readlink()) == name


def test_symbolic_link_gets_another_name(tmp_path: Path) -> None:
    directory = Cell(os.open(tmp_path, os.O_PATH))

    def act() -> None:
        linked = calls.link("one", ["other", "third"])
        perform([calls.fchdir(directory), calls.symlinkat("to", directory, "one"), linked])

    run_in_child(act)

    os.close(directory.value)
    assert str((tmp_path / "other").readlink()) == "to"
    assert (tmp_path / "other").lstat().st_ino == (tmp_path / "one").lstat().st_ino


def test_directory_that_is_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    directory = Cell(os.open(tmp_path, os.O_PATH))

    with pytest.raises(FileExistsError):
        perform([calls.mkdirat(directory, "there", 0o755)])

    os.close(directory.value)


@pytest.mark.parametrize(("other", "same"), [("/usr", True), ("/usr/..", False), ("/proc", False)])
def test_path_and_descriptor_of_one_inode_are_told_from_two(other: str, same: bool) -> None:
    fd = os.open("/usr", os.O_PATH)
    try:
        outcomes = []
        for path, cell in (("/usr", Cell(os.open(other, os.O_PATH))), (other, Cell(fd))):
            try:
                perform(calls.check_same(path, cell))
            except OSError:
                outcomes.append(False)
            else:
                outcomes.append(True)
            if cell.value != fd:
                os.close(cell.value)
    finally:
        os.close(fd)

    assert outcomes == [same, same]


def test_path_that_is_not_there_is_no_ones_inode() -> None:
    fd = os.open("/", os.O_PATH)
    try:
        assert errno_of(*calls.check_same("/no/such", Cell(fd))) == ENOENT
    finally:
        os.close(fd)


# Mounts.


@requires_user_namespaces
def test_file_system_is_mounted_with_its_flags_and_taken_off(
    in_new_namespaces: InNewNamespaces,
) -> None:
    def act() -> tuple[bool, bool]:
        perform([calls.mount("none", "/mnt", "tmpfs", MS_RDONLY, "mode=0700")])
        there = os.statvfs("/mnt").f_flag & os.ST_RDONLY and os.path.ismount("/mnt")
        perform([calls.umount2("/mnt", MNT_DETACH)])
        return bool(there), os.path.ismount("/mnt")

    assert in_new_namespaces(act) == (True, False)


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
    prepared = calls.mount("none", target, fstype, 0, data)

    assert in_new_namespaces(lambda: errno_of(prepared)) == errno


def test_unmounting_what_is_no_mount_point_is_an_error() -> None:
    assert errno_of(calls.umount2("/proc/self", 0)) in {EINVAL, EPERM}


@requires_user_namespaces
def test_root_is_replaced(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> list[str]:
        mount("none", "/mnt", "tmpfs")
        Path("/mnt/here").touch()
        here = calls.chdir("/mnt"), calls.pivot_root(".", "."), calls.umount2(".", MNT_DETACH)
        perform(here)
        return [path.name for path in Path("/").iterdir()]

    assert in_new_namespaces(act) == ["here"]


@requires_user_namespaces
def test_root_that_is_no_mount_point_is_refused(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> int:
        mount("none", "/mnt", "tmpfs")
        Path("/mnt/dir").mkdir()
        return errno_of(calls.chdir("/mnt/dir"), calls.pivot_root(".", "."))

    assert in_new_namespaces(act) == EINVAL


@requires_user_namespaces
def test_tree_is_cloned_made_read_only_and_attached(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> tuple[bool, bool, bool]:
        mount("none", "/mnt", "tmpfs")
        Path("/mnt/from").mkdir()
        Path("/mnt/from/file").touch()
        Path("/mnt/to").mkdir()
        tree, target = Cell(-1), Cell(os.open("/mnt/to", os.O_PATH))
        perform([calls.open_tree("/mnt/from", to=tree)])
        perform([calls.mount_setattr(tree, MOUNT_ATTR_RDONLY), calls.move_mount(tree, target)])
        read_only = bool(os.statvfs("/mnt/to").f_flag & os.ST_RDONLY)
        return Path("/mnt/to/file").exists(), read_only, os.get_inheritable(tree.value)

    assert in_new_namespaces(act) == (True, True, False)


@requires_user_namespaces
def test_file_system_is_made_before_it_has_a_place(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> tuple[bool, bool, int, bool]:
        before, tree = set(read_descriptors()), Cell(-1)
        perform(calls.new_mount("tmpfs", [("mode", "0751"), ("size", "64k")], to=tree))
        alone = set(read_descriptors()) - before == {str(tree.value)}
        unattached = not os.path.ismount("/mnt")
        perform([calls.move_mount(tree, Cell(os.open("/mnt", os.O_PATH)))])
        return unattached, os.path.ismount("/mnt"), Path("/mnt").stat().st_mode & 0o7777, alone

    assert in_new_namespaces(act) == (True, True, 0o751, True)


@requires_user_namespaces
@pytest.mark.parametrize(
    ("fstype", "options", "errno"), [("no-such-type", [], ENODEV), ("tmpfs", [("x", "y")], EINVAL)]
)
def test_file_system_that_the_kernel_refuses_has_its_errno(
    in_new_namespaces: InNewNamespaces, fstype: str, options: list[tuple[str, str]], errno: int
) -> None:
    prepared = calls.new_mount(fstype, options, to=Cell(-1))

    assert in_new_namespaces(lambda: errno_of(*prepared)) == errno


# Names, networks and messages.


@requires_user_namespaces
def test_host_has_the_name(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> str:
        unshare(CLONE_NEWUTS)
        perform([calls.sethostname("über")])
        return os.uname().nodename

    assert in_new_namespaces(act) == "über"


@requires_user_namespaces
def test_device_is_asked_through_a_socket(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> tuple[int, bool]:
        unshare(CLONE_NEWNET)
        control = Cell(-1)
        request = Buffer(48, b"lo")
        perform([calls.socket(socket.AF_INET, socket.SOCK_DGRAM, to=control)])
        perform([calls.ioctl(control, SIOCGIFFLAGS, request)])
        flags = struct.unpack("16sH30x", request.raw)[1]
        return flags & IFF_LOOPBACK, os.get_inheritable(control.value)

    assert in_new_namespaces(act) == (IFF_LOOPBACK, False)


def test_request_that_a_device_does_not_know_is_an_error() -> None:
    file = Cell(os.open("/dev/null", os.O_RDONLY))
    try:
        with pytest.raises(OSError, match="ioctl"):
            perform([calls.ioctl(file, TIOCGWINSZ, bytes(8))])
    finally:
        os.close(file.value)


def test_message_arrives_with_its_length() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    buffer, size = Buffer(16), Cell(-1)
    with ours, theirs:
        perform([calls.send(ours.fileno(), b"go"), calls.recv(theirs.fileno(), buffer, to=size)])

    assert (buffer.raw[: size.value], size.value) == (b"go", 2)


def test_end_of_the_messages_has_no_length() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    size = Cell(-1)
    with theirs:
        perform([calls.recv(theirs.fileno(), Buffer(16), to=size)])

    assert size.value == 0


def test_sending_to_nobody_is_an_error_and_no_signal() -> None:
    def act() -> None:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.close()
        perform([calls.send(ours.fileno(), b"go")])

    with pytest.raises(BrokenPipeError):
        run_in_child(act)


def test_sending_does_not_wait_for_who_does_not_listen() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, pytest.raises(BlockingIOError):
        perform([calls.send(ours.fileno(), b"go")] * 1000)


@pytest.mark.parametrize(
    ("message", "good"),
    [(b"go", True), (b"go on", True), (b"g", False), (b"", False), (b"ga", False), (b"hi", False)],
)
def test_message_that_is_not_the_expected_one_ends_the_list(message: bytes, good: bool) -> None:
    buffer = Buffer(16, message)
    made: list[int] = []

    with suppress(OSError):
        perform([*calls.check_message(buffer, b"go"), calls.then(made.append, 1)])

    assert made == ([1] if good else [])


def test_who_reads_an_event_waits_for_who_writes_it() -> None:
    def act() -> tuple[bool, bytes]:
        gate, buffer = Cell(-1), Buffer(8)
        perform([calls.eventfd(to=gate)])
        if os.fork() == 0:
            perform([calls.write(gate, (1).to_bytes(8, "little"))])
            os._exit(0)
        perform([calls.read(gate, buffer)])
        return os.get_inheritable(gate.value), buffer.raw

    assert run_in_child(act) == (False, (1).to_bytes(8, "little"))


# Descriptors.


def test_descriptor_goes_to_a_free_number_from_one_on_and_is_not_inherited() -> None:
    def act() -> tuple[int, bool]:
        os.dup2(0, 100)
        moved = Cell(-1)
        perform([calls.dup_above(0, 100, to=moved)])
        return moved.value, os.get_inheritable(moved.value)

    assert run_in_child(act) == (101, False)


def test_descriptor_goes_to_a_number_and_is_inherited() -> None:
    def act() -> tuple[bool, bool]:
        memory = os.memfd_create("memory")
        perform([calls.dup2(Cell(memory), 100)])
        return Path("/proc/self/fd/100").samefile(f"/proc/self/fd/{memory}"), os.get_inheritable(
            100
        )

    assert run_in_child(act) == (True, True)


@pytest.mark.parametrize(
    ("prepared", "left"),
    [
        (calls.close_range(101, 102), [100, 103]),
        (calls.close_range(102), [100, 101]),
        (calls.close(101), [100, 102, 103]),
        (calls.close(Cell(103)), [100, 101, 102]),
    ],
)
def test_descriptors_are_closed(prepared: Call, left: list[int]) -> None:
    def act() -> list[int]:
        for number in range(100, 104):
            os.dup2(0, number)
        perform([prepared])
        return [number for number in range(100, 104) if is_open(number)]

    assert run_in_child(act) == left


def test_descriptors_from_a_number_on_are_closed_on_exec() -> None:
    def act() -> list[bool]:
        for number in (100, 101, 102):
            os.dup2(0, number)
        perform([calls.close_range(101, flags=CLOSE_RANGE_CLOEXEC)])
        return [os.get_inheritable(number) for number in (100, 101, 102)]

    assert run_in_child(act) == [True, False, False]


def test_device_that_is_full_is_said() -> None:
    file = Cell(os.open("/dev/full", os.O_WRONLY))

    errno = errno_of(calls.write(file, b"x"))

    os.close(file.value)
    assert errno == ENOSPC
