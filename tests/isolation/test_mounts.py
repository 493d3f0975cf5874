import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EINVAL, EISDIR, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, EROFS
from pathlib import Path
from stat import S_IMODE

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation.errors import SetupError
from mocker.isolation.mounts import (
    TreeSource,
    attach,
    attach_in_view,
    check_attached,
    make_directory,
    make_file,
    open_in_root,
    open_source,
    source_attributes,
)
from mocker.isolation.syscalls import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_REC,
    mount,
)
from tests.in_namespaces import InNewNamespaces
from tests.requirements import requires_user_namespaces

pytestmark = requires_user_namespaces

TOP = Path("/mnt")
ROOT, OUTSIDE = TOP / "root", TOP / "outside"
Make = Callable[[int, str], int]

both = pytest.mark.parametrize("make", [make_directory, make_file])


def lay_out(links: dict[str, str], top: Path = TOP) -> int:
    """Mount a file system with a root directory that has these links, and return the root.

    Beside the root, where none of them may lead, are a directory and a file.
    """
    mount("none", str(top), "tmpfs")
    for directory in (ROOT / "dir", ROOT / "a/b", OUTSIDE / "dir"):
        directory.mkdir(parents=True)
    (ROOT / "file").touch()
    (OUTSIDE / "file").write_text("untouched")
    for name, target in links.items():
        link = ROOT / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    return os.open(ROOT, os.O_PATH)


def list_outside() -> list[tuple[str, int, int]]:
    """Return what is beside the root, in every detail that a write would change."""
    found = []
    for path in [TOP, *sorted(OUTSIDE.rglob("*"))]:
        stat = path.stat()
        found.append((str(path), stat.st_mtime_ns, stat.st_ctime_ns))
    return found


def place_of(fd: int) -> str:
    """Return where a descriptor leads, and close it."""
    place = Path(f"/proc/self/fd/{fd}").readlink()
    os.close(fd)
    return str(place)


def make_in(make: Make, links: dict[str, str], path: str) -> tuple[str, bool]:
    """Make a path in a root with these links; return where it is, and whether outside changed."""
    root_fd = lay_out(links)
    before = list_outside()
    try:
        place = place_of(make(root_fd, path))
    except OSError as error:
        place = os.strerror(error.errno or 0)
    return place, list_outside() != before


@both
@pytest.mark.parametrize(
    ("links", "path", "place"),
    [
        ({}, "/new", "/new"),
        ({}, "/deep/er/still", "/deep/er/still"),
        ({}, "/a/b/../new", "/a/new"),
        ({}, "/../../outside/new", "/outside/new"),
        ({}, "/" + "d/" * 60 + "new", "/" + "d/" * 60 + "new"),
        ({"in": "a"}, "/in/new", "/a/new"),
        ({"in": "/a"}, "/in/new", "/a/new"),
        ({"out": "/"}, "/out/new", "/new"),
        ({"out": "/mnt/outside"}, "/out/new", "/mnt/outside/new"),
        ({"out": ".."}, "/out/new", "/new"),
        ({"out": "../../../../mnt/outside"}, "/out/new", "/mnt/outside/new"),
        ({"out": "../outside/dir"}, "/out/new", "/outside/dir/new"),
        ({"x": "y", "y": "z", "z": "a/b"}, "/x/new", "/a/b/new"),
        ({"new": "../outside/new"}, "/new", "/outside/new"),
        ({"new": "/mnt/outside/new"}, "/new", "/mnt/outside/new"),
        ({"a/new": "other"}, "/a/new", "/a/other"),
        ({"in": "a", "a/new": "b/new"}, "/in/new", "/a/b/new"),
        ({"one": "two", "two": "three/four"}, "/one", "/three/four"),
    ],
)
def test_what_is_made_is_in_the_root_wherever_links_lead(
    in_new_namespaces: InNewNamespaces,
    make: Make,
    links: dict[str, str],
    path: str,
    place: str,
) -> None:
    made, touched = in_new_namespaces(lambda: make_in(make, links, path))

    assert (made, touched) == (f"{ROOT}{place}", False)


@both
@pytest.mark.parametrize(
    ("links", "path", "errno"),
    [
        ({"loop": "loop"}, "/loop/new", ELOOP),
        ({"loop": "loop"}, "/loop", ELOOP),
        ({"loop": "pool", "pool": "loop"}, "/loop/new", ELOOP),
        ({"loop": "loop/x"}, "/loop", ELOOP),
        ({f"l{n}": f"l{n + 1}" for n in range(60)}, "/l0", ELOOP),
        ({}, "/file/new", ENOTDIR),
        ({"to": "file"}, "/to/new", ENOTDIR),
        ({"to": "missing/../file"}, "/to/new", EINVAL),
        ({}, "/" + "n" * 256, ENAMETOOLONG),
        ({}, "/new/" + "n" * 256, ENAMETOOLONG),
        ({}, "/" + "n/" * 2048, ENAMETOOLONG),
        ({"to": "n" * 4095}, "/to", ENAMETOOLONG),
    ],
)
def test_path_that_leads_nowhere_is_refused(
    in_new_namespaces: InNewNamespaces,
    make: Make,
    links: dict[str, str],
    path: str,
    errno: int,
) -> None:
    answer, touched = in_new_namespaces(lambda: make_in(make, links, path))

    assert (answer, touched) == (os.strerror(errno), False)


def test_file_is_no_directory(in_new_namespaces: InNewNamespaces) -> None:
    answer, _ = in_new_namespaces(lambda: make_in(make_directory, {}, "/file"))

    assert answer == os.strerror(ENOTDIR)


@pytest.mark.parametrize("path", ["/dir", "/link", "/"])
def test_directory_is_no_file(in_new_namespaces: InNewNamespaces, path: str) -> None:
    answer, _ = in_new_namespaces(lambda: make_in(make_file, {"link": "dir"}, path))

    assert answer == os.strerror(EISDIR)


@pytest.mark.parametrize(
    ("make", "path"),
    [(make_directory, "/dir"), (make_directory, "/"), (make_file, "/file"), (make_file, "/fifo")],
)
def test_what_is_there_already_is_taken_as_it_is(
    in_new_namespaces: InNewNamespaces, make: Make, path: str
) -> None:
    def act() -> tuple[str, bool]:
        root_fd = lay_out({})
        os.mkfifo(ROOT / "fifo")
        before = Path(f"{ROOT}{path}").stat()
        place = place_of(make(root_fd, path))
        return place, Path(f"{ROOT}{path}").stat() == before

    assert in_new_namespaces(act) == (f"{ROOT}{path}".rstrip("/"), True)


def test_what_is_made_is_open_to_all_for_reading(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> list[int]:
        root_fd = lay_out({})
        os.umask(0)
        os.close(make_file(root_fd, "/one/two/three"))
        paths = (ROOT / "one", ROOT / "one/two", ROOT / "one/two/three")
        return [S_IMODE(path.stat().st_mode) for path in paths]

    assert in_new_namespaces(act) == [0o755, 0o755, 0o644]


NAMES = st.sampled_from(["a", "b", "c", "dir", "file", "outside", "mnt", ".", "..", "..", ""])
PATHS = st.lists(NAMES, max_size=5).map("/".join)


@st.composite
def hostile_links(draw: st.DrawFn) -> dict[str, str]:
    places = st.sampled_from(["l1", "l2", "l3", "a/l1", "a/b/l2", "dir/l3"])
    targets = st.one_of(
        PATHS,
        PATHS.map("/{}".format),
        st.sampled_from(["l1", "l2", "l3/x", "../l1", "/a/l1/y", "/mnt/outside/file"]),
    )
    return draw(st.dictionaries(places, targets.filter(bool), max_size=6))


@pytest.mark.slow
def test_nothing_outside_of_the_root_is_touched_whatever_is_in_it(
    in_new_namespaces: InNewNamespaces,
) -> None:
    names = st.sampled_from(["l1", "l2", "l3", "a", "b", "dir", "new", ".."])

    @given(
        links=hostile_links(),
        path=st.lists(names, min_size=1, max_size=5).map("/".join).map("/{}".format),
        make=st.sampled_from([make_directory, make_file]),
    )
    def try_one(links: dict[str, str], path: str, make: Make) -> None:
        root_fd = lay_out(links)
        before = list_outside()
        try:
            place = place_of(make(root_fd, path))
        except OSError:
            place = str(ROOT)
        finally:
            os.close(root_fd)
        assert f"{place}/".startswith(f"{ROOT}/")
        assert list_outside() == before

    in_new_namespaces(try_one)


@pytest.mark.parametrize("path", ["/out/dir/file", "/../../outside/dir", "/out"])
def test_path_is_opened_as_by_a_process_whose_root_it_is(
    in_new_namespaces: InNewNamespaces, path: str
) -> None:
    def act() -> None:
        root_fd = lay_out({"out": "/mnt/outside"})
        open_in_root(root_fd, path, os.O_PATH)

    with pytest.raises(OSError, match=os.strerror(ENOENT)):
        in_new_namespaces(act)


def test_link_of_proc_to_the_hosts_root_is_not_followed(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> None:
        root_fd = os.open("/", os.O_PATH)
        open_in_root(root_fd, "/proc/self/root/etc", os.O_PATH)

    with pytest.raises(OSError, match=os.strerror(ELOOP)):
        in_new_namespaces(act)


def read_mounts() -> Iterator[tuple[str, str, set[str]]]:
    """Yield (mount point, type, options) of what is mounted, the last first."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        fields = line.split()
        yield fields[4], fields[fields.index("-") + 1], set(fields[5].split(","))


@pytest.mark.parametrize(
    ("source", "path", "place"),
    [
        (OUTSIDE / "dir", "/new/dir", "/new/dir"),
        (OUTSIDE / "file", "/new/file", "/new/file"),
        (OUTSIDE / "dir", "/out", "/mnt/outside"),
        (OUTSIDE / "file", "/out", "/mnt/outside"),
    ],
)
def test_source_is_attached_where_it_should_be(
    in_new_namespaces: InNewNamespaces, source: Path, path: str, place: str
) -> None:
    def act() -> tuple[str, bool]:
        root_fd = lay_out({"out": "/mnt/outside"})
        tree = open_source(TreeSource(str(source), recursive=True, attributes=0))
        attach(tree, root_fd, path)
        point, _, _ = next(read_mounts())
        return point, source.samefile(point)

    assert in_new_namespaces(act) == (f"{ROOT}{place}", True)


@pytest.mark.parametrize(
    ("source", "path", "errno"),
    [(OUTSIDE / "dir", "/file", ENOTDIR), (OUTSIDE / "file", "/dir", EISDIR)],
)
def test_directory_and_file_do_not_go_onto_one_another(
    in_new_namespaces: InNewNamespaces, source: Path, path: str, errno: int
) -> None:
    def act() -> None:
        root_fd = lay_out({})
        attach(open_source(TreeSource(str(source), recursive=False, attributes=0)), root_fd, path)

    with pytest.raises(OSError, match=os.strerror(errno)):
        in_new_namespaces(act)


def lay_out_with_proc(links: dict[str, str]) -> int:
    """Lay out a root as `lay_out` does, in which /proc is there for all of the host to see."""
    root_fd = lay_out(links)
    (ROOT / "proc").mkdir()
    mount("/proc", str(ROOT / "proc"), "", MS_BIND | MS_REC)
    return root_fd


@pytest.mark.parametrize(
    ("links", "path", "place"),
    [
        ({}, "/new/dir", "/new/dir"),
        ({"out": "/mnt/outside"}, "/out", "/mnt/outside"),
        ({"out": "../../outside/dir"}, "/out", "/outside/dir"),
    ],
)
def test_volume_is_attached_in_the_root_wherever_links_lead(
    in_new_namespaces: InNewNamespaces, links: dict[str, str], path: str, place: str
) -> None:
    def act() -> tuple[str, bool]:
        root_fd = lay_out_with_proc(links)
        tree = open_source(TreeSource(str(OUTSIDE), recursive=True, attributes=0))
        attach_in_view(tree, root_fd, path)
        point, _, _ = next(read_mounts())
        return point, OUTSIDE.samefile(point)

    assert in_new_namespaces(act) == (f"{ROOT}{place}", True)


@pytest.mark.parametrize(
    "links",
    [
        {"data": "proc"},
        {"data": "/proc/sys"},
        {"data": "/proc/1"},
        {"in": "proc", "data": "in/irq"},
        {"data": "dir/../proc/fs"},
    ],
)
def test_volume_does_not_cover_anything_of_proc(
    in_new_namespaces: InNewNamespaces, links: dict[str, str]
) -> None:
    def act() -> None:
        root_fd = lay_out_with_proc(links)
        tree = open_source(TreeSource(str(OUTSIDE), recursive=True, attributes=0))
        before = list(read_mounts())
        try:
            attach_in_view(tree, root_fd, "/data")
        finally:
            assert list(read_mounts()) == before

    with pytest.raises(SetupError, match="cannot mount on /data; what is there leads into /proc"):
        in_new_namespaces(act)


@pytest.mark.parametrize("target", ["..", "/", "a/b/../.."])
def test_volume_does_not_cover_the_root(in_new_namespaces: InNewNamespaces, target: str) -> None:
    def act() -> None:
        root_fd = lay_out_with_proc({"data": target})
        tree = open_source(TreeSource(str(OUTSIDE), recursive=True, attributes=0))
        attach_in_view(tree, root_fd, "/data")

    with pytest.raises(SetupError, match="cannot mount on /data; what is there leads to the root"):
        in_new_namespaces(act)


def test_path_is_looked_up_again_while_others_rename(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> int:
        root_fd = lay_out({"up": "a/b/../../dir/../file"})
        with renaming(OUTSIDE):
            for _ in range(3000):
                os.close(open_in_root(root_fd, "/up", os.O_PATH))
        return 3000

    assert in_new_namespaces(act) == 3000


@contextmanager
def renaming(directory: Path) -> Iterator[None]:
    """Rename something in a directory for the length of a block, as fast as it goes."""
    pid = os.fork()
    if pid == 0:
        while True:
            (directory / "file").rename(directory / "other")
            (directory / "other").rename(directory / "file")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_volume_that_somebody_moves_away_is_missed(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> None:
        root_fd = lay_out({})
        tree = open_source(TreeSource(str(OUTSIDE), recursive=True, attributes=0))
        attach(tree, root_fd, "/a/b")
        check_attached(tree, root_fd, "/a/b")
        (ROOT / "a").rename(ROOT / "c")
        (ROOT / "a/b").mkdir(parents=True)
        check_attached(tree, root_fd, "/a/b")

    with pytest.raises(SetupError, match=r"mount on /a/b; .* somebody changes the rootfs"):
        in_new_namespaces(act)


@pytest.mark.parametrize("recursive", [True, False])
def test_mounts_below_a_source_come_along_if_asked_for(
    in_new_namespaces: InNewNamespaces, recursive: bool
) -> None:
    def act() -> bool:
        root_fd = lay_out({})
        mount("none", str(OUTSIDE / "dir"), "tmpfs")
        (OUTSIDE / "dir/below").touch()
        source = TreeSource(str(OUTSIDE), recursive=recursive, attributes=0)
        attach(open_source(source), root_fd, "/volume")
        return (ROOT / "volume/dir/below").exists()

    assert in_new_namespaces(act) == recursive


def test_read_only_source_forbids_writing_below_as_well(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> list[int]:
        root_fd = lay_out({})
        mount("none", str(OUTSIDE / "dir"), "tmpfs")
        attributes = source_attributes(read_only=True)
        source = TreeSource(str(OUTSIDE), recursive=True, attributes=attributes)
        attach(open_source(source), root_fd, "/volume")
        errnos = []
        for path in (ROOT / "volume/new", ROOT / "volume/dir/new"):
            try:
                path.touch()
            except OSError as error:
                errnos.append(error.errno or 0)
        (OUTSIDE / "new").touch()
        return errnos

    assert in_new_namespaces(act) == [EROFS, EROFS]


@pytest.mark.parametrize(
    ("read_only", "attributes"),
    [
        (False, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV),
        (True, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY),
    ],
)
def test_source_of_the_host_has_no_set_user_id_programs_and_no_devices(
    read_only: bool, attributes: int
) -> None:
    assert source_attributes(read_only=read_only) == attributes


def test_source_that_is_missing_is_refused(in_new_namespaces: InNewNamespaces) -> None:
    source = TreeSource("/no/such/source", recursive=True, attributes=0)

    with pytest.raises(FileNotFoundError):
        in_new_namespaces(lambda: open_source(source))
