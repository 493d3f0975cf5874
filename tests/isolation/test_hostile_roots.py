"""Root directories, environments and arguments of somebody who wants out, or wants a start to hang.

Whatever is in a root directory, a start either works, with everything mounted inside, or says in a
sentence why not; and nothing beside the root is made, changed or mounted on.
"""

import ctypes
import os
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from stat import S_ISDIR

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mocker.isolation import (
    Container,
    ContainerSpec,
    IsolationError,
    SpecError,
    Tmpfs,
    Volume,
    spawn,
)
from mocker.isolation.busybox import find_busybox
from tests.callers import describe_tree
from tests.containers import Outcome, in_container, make_spec, run_captured, script
from tests.requirements import IS_ROOT

pytestmark = pytest.mark.slow

libc = ctypes.CDLL(None)
AT_FDCWD, RENAME_EXCHANGE = -100, 2

# What the mount points of every container, and those of a test, may be in a root directory: a kind
# of file, or the target of a symbolic link.
ENTRIES = (
    *("proc", "sys", "dev", "dev/pts", "dev/shm", "dev/null", "dev/ptmx", "tmp", "run"),
    *("etc", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/passwd", "etc/group"),
    *("data", "data/in", "work", "fresh"),
)
KINDS = ["directory", "file", "huge file", "fifo", "setuid", "socket"]
NODES = ["null", "zero", "disk"] if IS_ROOT else []
LONG = "n" * 255
TARGETS = [
    *("/proc", "/sys", "/dev", "proc", "dev/null", "/dev/pts", "/etc/passwd", "data", "/work"),
    *("/proc/self/root", "/proc/1/root", "/proc/self/cwd", "/proc/self/fd/0", "/proc/self/exe"),
    *("..", "/", ".", "../..", "../outside", "../outside/file", "../../outside/directory"),
    *("OUTSIDE", "OUTSIDE/file", "OUTSIDE/new", "OUTSIDE/directory", "OUTSIDE/directory/new"),
    *("missing", "/missing/deep", "loop", "../" * 1300 + "outside", "/".join([LONG] * 15)),
]
FRESH = "/fresh/deep"
# As long as the kernel takes it, and longer by a byte.
LONGEST, TOO_LONG = (f"/{LONG}" * 15 + "/" + "n" * length for length in (254, 255))
NUMBERS = {"null": os.makedev(1, 3), "zero": os.makedev(1, 5), "disk": os.makedev(8, 0)}

# A volume may cover /sys or /dev, if that is where a root directory leads it; but never /proc, of
# which statfs(2) has the f_type.
LOOK = "stat -f -c %t /proc; cat /data/mark"
FOUND = "9fa0\nof the volume\n"

Entries = dict[str, str]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what is beside each root: files to lose, a volume and a shell."""
    top = tmp_path_factory.mktemp("hostile")
    (top / "outside/directory").mkdir(parents=True)
    (top / "outside/file").write_text("untouched")
    (top / "outside/directory/file").write_text("untouched")
    (top / "volume").mkdir()
    (top / "volume/mark").write_text("of the volume\n")
    (top / "sh").write_bytes(Path(find_busybox().path).read_bytes())
    (top / "sh").chmod(0o755)
    return top


@contextmanager
def made_root(top: Path, entries: Entries) -> Iterator[Path]:
    """Make a root directory with these entries, as far as they go together, for a block."""
    root = top / "root"
    root.mkdir()
    try:
        (root / "bin").mkdir()
        (root / "bin/sh").hardlink_to(top / "sh")
        for name in sorted(entries):
            try:
                make_entry(root / name, entries[name].replace("OUTSIDE", str(top / "outside")))
            except OSError:
                continue  # its parent is no directory
        yield root
    finally:
        remove(root)


def make_entry(path: Path, what: str) -> None:
    if path.parent.resolve() != path.parent:
        return  # a link: the entry would be elsewhere
    path.parent.mkdir(exist_ok=True)
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what in {"socket", *NUMBERS}:
        kind = 0o140000 if what == "socket" else 0o060000 if what == "disk" else 0o020000
        os.mknod(path, kind | 0o666, NUMBERS.get(what, 0))
    elif what in {"file", "huge file", "setuid"}:
        path.write_text("ann:x:0:0::/:/bin/sh\n")
        os.truncate(path, 2**40 if what == "huge file" else 21)
        path.chmod(0o4755 if what == "setuid" else 0o644)
    else:
        path.symlink_to(what)


def remove(path: Path) -> None:
    if S_ISDIR(path.lstat().st_mode):
        for entry in path.iterdir():
            remove(entry)
        path.rmdir()
    else:
        path.unlink()


whats = st.one_of(st.sampled_from([*KINDS, *NODES]), st.sampled_from(TARGETS))
roots = st.dictionaries(st.sampled_from(ENTRIES), whats, max_size=6)


def try_to_run(**fields: object) -> Outcome | str:
    """Run a script, and return what came of it, or the sentence that says why it was refused."""
    try:
        return run_captured(make_spec(**fields))
    except IsolationError as error:
        return str(error)


@in_container
@pytest.mark.timeout(120)
@settings(max_examples=60)
@given(
    entries=roots,
    mode=st.sampled_from([{}, {"rootfs_mode": "rw"}, {"read_only": True}]),
    user=st.sampled_from([None, "ann", "0"]),
    workdir=st.sampled_from([None, "/work", "/etc", "/proc/self"]),
    tmpfs=st.sampled_from([FRESH, LONGEST]),
)
@example({}, {}, None, None, FRESH)
@example({}, {}, None, None, LONGEST)
@example({}, {}, None, None, TOO_LONG)
@example({}, {"rootfs_mode": "rw"}, None, None, FRESH)
@example({}, {"read_only": True}, None, None, FRESH)
@example({"proc": "sys"}, {}, None, None, FRESH)
@example({"sys": "/proc"}, {}, None, None, FRESH)
@example({"dev": "proc"}, {"rootfs_mode": "rw"}, None, None, FRESH)
@example({"data": "/proc"}, {}, None, None, FRESH)
@example({"data": ".."}, {}, None, None, FRESH)
@example({"proc": "."}, {}, None, None, FRESH)
@example(
    {"dev": "OUTSIDE/directory", "proc": "../outside"}, {"rootfs_mode": "rw"}, None, None, FRESH
)
@example({"etc": "OUTSIDE", "work": "OUTSIDE/new"}, {"rootfs_mode": "rw"}, None, "/work", FRESH)
@example({"etc/passwd": "fifo", "etc/group": "huge file"}, {}, "ann", None, FRESH)
@example({"etc/passwd": "/proc/self/fd/0"}, {"read_only": True}, "ann", None, FRESH)
def test_start_works_inside_or_says_why_not_whatever_a_root_has(
    directory: Path,
    entries: Entries,
    mode: dict[str, object],
    user: str | None,
    workdir: str | None,
    tmpfs: str,
) -> None:
    volumes = [Volume(str(directory / "volume"), "/data", read_only=True)]

    with made_root(directory, entries) as root:
        before = describe_tree(directory)
        if mode.get("rootfs_mode") == "rw":
            tmpfs = FRESH  # what is so deep, a test can't remove by its path
            before = {path: of for path, of in before.items() if not path.startswith(str(root))}
        came = try_to_run(
            argv=["/bin/sh", "-c", LOOK],
            rootfs=str(root),
            volumes=volumes,
            tmpfs=[Tmpfs(tmpfs)],
            user=user,
            workdir=workdir,
            **mode,
        )
        after = describe_tree(directory)

    assert {path: after.get(path) for path in before} == before
    assert before.keys() >= {path for path in after if not path.startswith(str(root))}
    if isinstance(came, str):
        assert came.startswith("cannot ")
        assert "\n" not in came
        assert (
            entries or user or workdir or tmpfs == TOO_LONG
        )  # else there is nothing to be refused
    else:
        assert came.stdout == FOUND


@in_container
@pytest.mark.parametrize("what", ["fifo", "huge file", "/proc/self/fd/0", "OUTSIDE/file", "loop"])
@pytest.mark.parametrize("name", ["etc/passwd", "etc/group"])
def test_file_of_users_that_is_none_names_nobody(directory: Path, name: str, what: str) -> None:
    with made_root(directory, {name: what}) as root:
        came = try_to_run(argv=["/bin/sh"], rootfs=str(root), user="nobody:nobody")

    assert str(came).startswith("cannot find user 'nobody' in /etc/passwd")


@in_container
@pytest.mark.parametrize(("size", "works"), [(4095, True), (4096, False), (8192, False)])
@pytest.mark.parametrize("what", ["volume", "tmpfs", "workdir"])
def test_path_may_be_as_long_as_the_kernel_takes_it(
    directory: Path, what: str, size: int, works: bool
) -> None:
    path = "".join(f"/{LONG}" for _ in range(size // 256 + 1))[:size].rstrip("/")
    path += "n" * (size - len(path))
    fields: dict[str, object] = {"volumes": [Volume(str(directory / "volume"), path)]}
    if what != "volume":
        fields = {"workdir": path} if what == "workdir" else {"tmpfs": [Tmpfs(path)]}

    came = try_to_run(argv=["true"], rootfs="busybox", **fields)

    if works:
        assert isinstance(came, Outcome), came
        assert came.status.success
    else:
        assert str(came).startswith("cannot ")
        assert str(came).endswith(": File name too long (ENAMETOOLONG)")


@in_container
@pytest.mark.parametrize("rootfs_mode", ["overlay", "rw"])
def test_start_works_or_says_why_not_while_somebody_changes_the_root(
    directory: Path, rootfs_mode: str
) -> None:
    before = describe_tree(directory / "outside")
    volumes = [Volume(str(directory / "volume"), "/data/in")]

    entries = {"proc": "directory", "data": "directory", "etc/hosts": "file"}
    with made_root(directory, entries) as root:
        make_fake_proc(root / "fake")
        (root / "proc.link").symlink_to("fake")
        for name in ("data", "etc"):
            (root / f"{name}.link").symlink_to("../outside/directory")
        with repeated(lambda: swap(root, ("proc", "data", "etc"))):
            fields = {"rootfs": str(root), "rootfs_mode": rootfs_mode, "volumes": volumes}
            came = list[Outcome | str]()  # until one has started
            while len(came) < 40 or all(isinstance(answer, str) for answer in came):
                came.append(try_to_run(argv=["/bin/sh", "-c", "true"], **fields))

    assert describe_tree(directory / "outside") == before
    refusals = {answer for answer in came if isinstance(answer, str)}
    assert {answer.split()[0] for answer in refusals} <= {"cannot"}


@in_container
def test_file_of_etc_that_somebody_moves_away_while_it_is_bound_is_missed(directory: Path) -> None:
    refusal = "cannot mount on /etc/hosts; what is there leads elsewhere, or somebody changes"

    with made_root(directory, {"etc/hosts": "file", "etc.link/hosts": "file"}) as root:
        fields = {"rootfs": str(root), "rootfs_mode": "rw"}
        with repeated(lambda: swap(root, ("etc",))):
            answers = (str(try_to_run(argv=["/bin/sh", "-c", ":"], **fields)) for _ in range(400))
            is_missed = any(answer.startswith(refusal) for answer in answers)

    assert is_missed


@in_container
def test_init_does_not_wait_for_what_somebody_puts_in_the_place_of_proc(directory: Path) -> None:
    with made_root(directory, {"proc": "directory"}) as root:
        spec = make_spec(argv=["/bin/sh", "-c", "read x"], rootfs=str(root), rootfs_mode="rw")
        with open_reading(spec) as container:
            (root / "proc").rmdir()  # which takes off what is mounted there
            (root / "proc/2/ns").mkdir(parents=True)
            os.mkfifo(root / "proc/2/ns/user")

            with pytest.raises(IsolationError), container.start_process(["true"]) as process:
                process.wait()


@contextmanager
def open_reading(spec: ContainerSpec) -> Iterator[Container]:
    """Start a container whose command waits for input, for the length of a block."""
    read_end, write_end = os.pipe()
    try:
        with spawn(spec, stdin=read_end) as container:
            container.wait_started()
            yield container
    finally:
        os.close(read_end)
        os.close(write_end)


def make_fake_proc(path: Path) -> None:
    """Make FIFOs where the IDs of the command would be written to, if this were /proc."""
    (path / "2").mkdir(parents=True)
    for name in ("setgroups", "uid_map", "gid_map"):
        os.mkfifo(path / "2" / name)


def swap(root: Path, names: tuple[str, ...]) -> None:
    """Put a link in the place of each directory, or the directory back: renameat2(2)."""
    for name in names:
        first, second = (os.fsencode(root / path) for path in (name, f"{name}.link"))
        assert libc.renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE) == 0


@contextmanager
def repeated(act: Callable[[], None]) -> Iterator[None]:
    """Act again and again in another process for the length of a block, and once to its end."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write_end)
        os.set_blocking(read_end, False)
        try:
            while True:
                act()
                try:
                    os.read(read_end, 1)
                except BlockingIOError:
                    continue
                os._exit(0)
        finally:
            os._exit(1)
    os.close(read_end)
    try:
        yield
    finally:
        os.close(write_end)
        _, status = os.waitpid(pid, 0)
    assert status == 0


def can_be_encoded(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


ODD = ["", "-", "--", "\udcff", "\ud800", "$(id)", "a\nb", "'", '"', "\\", "=", LONG * 16]
characters = st.characters(exclude_characters="\0", exclude_categories=())
texts = st.one_of(st.text(characters, max_size=60), st.sampled_from(ODD))
names = st.text(string.printable.replace("=", "") + "ä\udcff", min_size=1, max_size=20)


@in_container
@pytest.mark.timeout(120)
@settings(max_examples=50)
@given(arguments=st.lists(texts, max_size=5), env=st.dictionaries(names, texts, max_size=5))
@example(["\ud800"], {})
@example([], {"A": "\ud800"})
@example(["a\nb", "\udcff", ""], {"LD_PRELOAD": "/nothing", "\udcff": "\n", " ": ""})
def test_arguments_and_variables_arrive_as_they_are_or_are_refused(
    arguments: list[str], env: dict[str, str]
) -> None:
    good = all(map(can_be_encoded, [*arguments, *env.values()]))

    with nullcontext() if good else pytest.raises(SpecError):
        spec = script("cat /proc/$$/cmdline /proc/$$/environ; :", *arguments, env=env)
        words = run_captured(spec).stdout.split("\0")
        assert words[4 : 4 + len(arguments)] == arguments
        assert {f"{name}={value}" for name, value in env.items()} <= set(words)
