"""What cannot be meant, or does not fit the host, is said in one line and leaves nothing behind."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.callers import describe_tree, read_refusal, run, run_prepared
from tests.refusals import hide_busybox
from tests.requirements import requires_busybox, requires_root, requires_user

pytestmark = pytest.mark.end_to_end

BUSYBOX = shutil.which("busybox") or ""
NEEDED = ("etc", "dev", "proc", "sys", "tmp", "data")
FAR_UP = "../" * 20


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A directory with a shell, and with every mount point that a container has."""
    top = tmp_path / "rootfs"
    for name in ("bin", *NEEDED):
        (top / name).mkdir(parents=True)
    for name in ("hosts", "hostname", "resolv.conf", "passwd"):
        (top / "etc" / name).touch()
    shutil.copy(BUSYBOX, top / "bin/sh")
    return top


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host that no container may touch."""
    top = tmp_path / "outside"
    top.mkdir()
    (top / "secret").write_text("of the host")
    return top


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    top = tmp_path / "volume"
    top.mkdir()
    (top / "mine").write_text("of the volume")
    return top


@contextmanager
def unchanged(*tops: Path) -> Iterator[None]:
    """Hold that what is in these directories is afterwards what it was before."""
    before = [describe_tree(top) for top in tops]
    yield
    assert [describe_tree(top) for top in tops] == before


@pytest.mark.parametrize("words", [["frobnicate"], ["--frobnicate"], ["Run", "true"], ["", "run"]])
def test_unknown_subcommand_is_wrong_usage(words: list[str]) -> None:
    outcome = run(*words)

    sentence = f"mocker: unknown command {words[0]!r}; see 'mocker --help'\n"
    assert outcome == (2, "", sentence)


def test_mocker_alone_is_wrong_usage() -> None:
    outcome = run()

    assert outcome == (2, "", "mocker: a command is needed; see 'mocker --help'\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "a command is needed"),
        (["--"], "a command is needed"),
        ([""], "a container needs a command"),
        (["--frobnicate", "true"], "unknown option '--frobnicate'"),
        (["--volme", "/:/x", "true"], "did you mean '--volume'?"),
        (["-v"], "-v needs a value, SRC:DST[:ro]"),
        (["--read-only=yes", "true"], "--read-only takes no value"),
        (["--rootfs", "", "true"], "--rootfs must be busybox, host or a directory, not ''"),
        (["--rootfs-mode", "ro", "true"], "rootfs mode must be one of 'overlay', 'rw', not 'ro'"),
        (["--rootfs-mode", "rw", "true"], "rootfs mode 'rw' needs a directory as rootfs"),
        (["--rootfs-mode", "rw", "--read-only", "--rootfs", "/usr", "true"], "exclude each other"),
        (["-v", "", "true"], "--volume must be SRC:DST or SRC:DST:ro, not ''"),
        (["-v", "/usr", "true"], "--volume must be SRC:DST or SRC:DST:ro, not '/usr'"),
        (["-v", ":/x", "true"], "--volume must be SRC:DST or SRC:DST:ro, not ':/x'"),
        (["-v", "/usr:/x:rx", "true"], "--volume must be SRC:DST or SRC:DST:ro, not '/usr:/x:rx'"),
        (["-v", "/usr:x", "true"], "volume destination must be an absolute path, not 'x'"),
        (["-v", "/usr:/", "true"], "volume destination must not be the root"),
        (["-v", "/usr:/a/../../x", "true"], "must not contain '..', as '/a/../../x' does"),
        (["-v", "/usr:/proc/x", "true"], "volume destination must not be /proc or lie below it"),
        (["-v", "/usr:/x", "--tmpfs", "/x/", "true"], "two volumes or tmpfs have the destination"),
        (["--tmpfs", "/../x", "true"], "tmpfs destination must not contain '..'"),
        (["--tmpfs", "/x:size=much", "true"], "must be a size such as '64k'"),
        (["--tmpfs", "/x:frobnicate", "true"], "--tmpfs takes size=… and mode=…"),
        (["--hostname", "", "true"], "host name must have 1 to 64 bytes, '' has 0"),
        (["--hostname", "x" * 65, "true"], "has 65"),
        (["--hostname", "é" * 33, "true"], "has 66"),
        (["--hostname", "two\nlines", "true"], "host name must be one printable word"),
        (["--name", "two\nlines", "true"], "host name must be one printable word"),
        (["-u", "", "true"], "user must be USER[:GROUP], names or numbers, not ''"),
        (["-u", "-1", "true"], "user must be USER[:GROUP], names or numbers, not '-1'"),
        (["-u", "0:-1", "true"], "user must be USER[:GROUP], names or numbers, not '0:-1'"),
        (["-u", "root:", "true"], "user must be USER[:GROUP], names or numbers, not 'root:'"),
        (["-u", "ro\not", "true"], r"user must be USER[:GROUP], names or numbers, not 'ro\not'"),
        (["-w", "tmp", "true"], "workdir must be an absolute path, not 'tmp'"),
        (["-e", "", "true"], "--env must be KEY or KEY=VALUE, not ''"),
        (["-e", "=x", "true"], "--env must be KEY or KEY=VALUE, not '=x'"),
        (["--env-file", "/missing", "true"], "cannot read --env-file '/missing': No such file"),
        (["--env-file", "/", "true"], "cannot read --env-file '/': Is a directory"),
        (["--network", "bridge", "true"], "network must be one of 'none', 'host', not 'bridge'"),
        (["--network", "shared", "true"], "network must be one of 'none', 'host', not 'shared'"),
        (["--userns", "none", "true"], "userns must be one of 'private', 'host', not 'none'"),
        (["--ulimit", "nofile", "true"], "--ulimit must be NAME=SOFT[:HARD], not 'nofile'"),
        (["--ulimit", "files=1", "true"], "ulimit must be one of as, core, cpu,"),
        (["--ulimit", "nofile=2:1", "true"], "soft limit 2 is above the hard limit 1"),
        (["--ulimit", f"nofile={10**30}", "true"], "ulimit nofile must be 0 to"),
        (["--timeout", "soon", "true"], "--timeout must be a duration such as '500ms'"),
        (["--grace", "-1s", "true"], "--grace must be a duration such as '500ms'"),
        (["--stop-signal", "STOPP", "true"], "--stop-signal must be a signal such as TERM"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_options_that_cannot_be_meant_are_wrong_usage(words: list[str], sentence: str) -> None:
    outcome = run("run", *words)

    assert sentence in read_refusal(outcome, 2)


@pytest.mark.parametrize("name", ["x" * 64, "é" * 32])
@requires_busybox
def test_host_name_of_64_bytes_is_not_too_long(name: str) -> None:
    outcome = run("run", "--hostname", name, "hostname")

    assert outcome == (0, f"{name}\n", "")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("missing", "cannot open the rootfs PATH: No such file or directory (ENOENT)"),
        ("link to nothing", "cannot open the rootfs PATH: No such file or directory (ENOENT)"),
        ("loop", "cannot open the rootfs PATH: Too many levels of symbolic links (ELOOP)"),
        ("file", "cannot use the rootfs PATH; it is not a directory"),
        ("FIFO", "cannot use the rootfs PATH; it is not a directory"),
    ],
)
@pytest.mark.parametrize("mode", ["overlay", "rw"])
def test_rootfs_must_be_a_directory(tmp_path: Path, kind: str, sentence: str, mode: str) -> None:
    path = tmp_path / "rootfs"
    put(kind, path, target=tmp_path / "nothing")

    with unchanged(tmp_path):
        outcome = run("run", "--rootfs", str(path), "--rootfs-mode", mode, "true")

    assert read_refusal(outcome, 125) == sentence.replace("PATH", str(path))


def put(kind: str, path: Path, target: Path) -> None:
    """Put one of the things at a path that a container has to cope with."""
    make: dict[str, Callable[[], object]] = {
        "missing": lambda: None,
        "link": lambda: path.symlink_to(target),
        "relative link": lambda: path.symlink_to(f"{FAR_UP}{target}".replace("//", "/")),
        "link to nothing": lambda: path.symlink_to(target / "nothing"),
        "relative link to nothing": lambda: path.symlink_to(f"{FAR_UP}{target}/nothing"),
        "link through proc": lambda: path.symlink_to(f"/proc/self/root{target}"),
        "link to a file": lambda: path.symlink_to(target / "secret"),
        "loop": lambda: path.symlink_to(path.name),
        "FIFO": lambda: os.mkfifo(path),
        "file": lambda: path.write_text("in the way"),
        "directory": path.mkdir,
    }
    make[kind]()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "No such file or directory (ENOENT)"),
        ("link to nothing", "No such file or directory (ENOENT)"),
        ("loop", "Too many levels of symbolic links (ELOOP)"),
    ],
)
@requires_busybox
def test_source_of_a_volume_must_be_there(
    tmp_path: Path, rootfs: Path, volume: Path, kind: str, reason: str
) -> None:
    source = tmp_path / "source"
    put(kind, source, target=tmp_path / "nothing")
    both = ["-v", f"{volume}:/data", "-v", f"{source}:/data/below"]

    with unchanged(tmp_path):
        outcome = run("run", "--rootfs", str(rootfs), "--rootfs-mode", "rw", *both, "true")

    assert read_refusal(outcome, 125) == f"cannot open the volume source {source}: {reason}"


@requires_busybox
@requires_user
def test_source_of_a_volume_must_be_the_callers_to_read(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0)

    outcome = run("run", "-v", f"{shut}/below:/data", "true")

    reason = "Permission denied (EACCES)"
    assert read_refusal(outcome, 125) == f"cannot open the volume source {shut}/below: {reason}"


@pytest.mark.parametrize("mode", ["overlay", "rw"])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("file", "Not a directory (ENOTDIR)"),
        ("FIFO", "Not a directory (ENOTDIR)"),
        ("loop", "Too many levels of symbolic links (ELOOP)"),
        ("link through proc", "Too many levels of symbolic links (ELOOP)"),
    ],
)
@requires_busybox
def test_destination_of_a_directory_must_not_be_something_else(
    rootfs: Path, volume: Path, outside: Path, mode: str, kind: str, reason: str
) -> None:
    (rootfs / "data").rmdir()
    put(kind, rootfs / "data", target=outside)
    place = ["--rootfs", str(rootfs), "--rootfs-mode", mode]

    with unchanged(rootfs, volume, outside):
        outcome = run("run", *place, "-v", f"{volume}:/data", "true")

    assert read_refusal(outcome, 125) == f"cannot bind {volume} on /data: {reason}"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-v", "VOLUME:/etc/passwd"], "cannot bind VOLUME on /etc/passwd: Not a directory"),
        (["-v", "VOLUME:/etc/passwd/x"], "cannot bind VOLUME on /etc/passwd/x: Not a directory"),
        (["-v", "VOLUME/mine:/etc"], "cannot bind VOLUME/mine on /etc: Is a directory (EISDIR)"),
        (["--tmpfs", "/etc/passwd"], "cannot mount tmpfs on /etc/passwd: Not a directory"),
        (["-w", "/etc/passwd"], "cannot make the directory /etc/passwd: Not a directory"),
    ],
)
@pytest.mark.parametrize("place", ["busybox", "overlay", "rw"])
@requires_busybox
def test_file_and_directory_do_not_go_on_one_another(
    rootfs: Path, volume: Path, words: list[str], sentence: str, place: str
) -> None:
    words = [word.replace("VOLUME", str(volume)) for word in words]
    where = [] if place == "busybox" else ["--rootfs", str(rootfs), "--rootfs-mode", place]

    with unchanged(rootfs, volume):
        outcome = run("run", *where, *words, "true")

    assert sentence.replace("VOLUME", str(volume)) in read_refusal(outcome, 125)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "link",
        "relative link",
        "link to nothing",
        "relative link to nothing",
        "link through proc",
        "link to a file",
        "loop",
        "FIFO",
        "file",
    ],
)
@pytest.mark.parametrize("mode", ["overlay", "rw"])
@requires_busybox
def test_nothing_outside_of_a_hostile_rootfs_is_touched(
    rootfs: Path, volume: Path, outside: Path, mode: str, kind: str
) -> None:
    place = ["--rootfs", str(rootfs), "--rootfs-mode", mode]
    mounts = ["-v", f"{volume}:/data", "--tmpfs", "/tmp/below"]
    outcomes = []

    with unchanged(volume, outside):
        for name in NEEDED:
            (rootfs / name).rename(rootfs / "kept")
            put(kind, rootfs / name, target=outside)
            outcomes.append(run("run", *place, *mounts, "/bin/sh", "-c", "true"))
            (rootfs / name).unlink()
            (rootfs / "kept").rename(rootfs / name)

    refusals = [outcome for outcome in outcomes if outcome.code != 0]
    assert all(read_refusal(outcome, 125).startswith("cannot ") for outcome in refusals)


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize("kind", ["link", "relative link", "link to nothing", "FIFO", "file"])
@requires_busybox
def test_nothing_stays_in_a_hostile_rootfs_that_is_overlaid(
    rootfs: Path, volume: Path, outside: Path, name: str, kind: str
) -> None:
    shutil.rmtree(rootfs / name)
    put(kind, rootfs / name, target=outside)
    mounts = ["-v", f"{volume}:/data", "--tmpfs", "/tmp/below"]

    with unchanged(rootfs):
        run("run", "--rootfs", str(rootfs), *mounts, "/bin/sh", "-c", "true")


@pytest.mark.parametrize("kind", ["link", "relative link", "link to nothing"])
@pytest.mark.parametrize("mode", ["overlay", "rw"])
@requires_busybox
def test_link_in_a_rootfs_leads_where_the_container_would_go(
    rootfs: Path, volume: Path, mode: str, kind: str
) -> None:
    (rootfs / "data").rmdir()
    put(kind, rootfs / "data", target=Path("/srv/inside"))
    place = ["--rootfs", str(rootfs), "--rootfs-mode", mode]
    script = "read line </data/mine; echo $line; cd -P /data; echo $PWD"

    outcome = run("run", *place, "-v", f"{volume}:/data", "/bin/sh", "-c", script)

    below = "/nothing" if kind == "link to nothing" else ""
    assert outcome == (0, f"of the volume\n/srv/inside{below}\n", "")


@requires_busybox
def test_link_in_a_volume_leads_where_the_container_would_go(
    volume: Path, outside: Path, rootfs: Path
) -> None:
    (volume / "link").symlink_to(outside)
    mounts = ["-v", f"{volume}:/data", "-v", f"{rootfs}:/data/link/new"]

    with unchanged(outside, volume):
        outcome = run("run", *mounts, "ls", f"{outside}/new/bin")

    assert outcome == (0, "sh\n", "")


@pytest.mark.parametrize(
    ("user", "sentence"),
    [
        ("joe", "cannot find user 'joe' in /etc/passwd; the container has no such"),
        ("root:joes", "cannot find group 'joes' in /etc/group; the container has no such"),
        ("99999999999", "cannot use '99999999999' as an ID; IDs are numbers from 0 to 4294967294"),
        ("4294967295", "cannot use '4294967295' as an ID; IDs are numbers from 0 to 4294967294"),
        ("0:99999999999", "cannot use '99999999999' as an ID; IDs are numbers from 0 to"),
        ("4294967294", "cannot become user 4294967294:0; the container has no such ID"),
        ("0:4294967294", "cannot become user 0:4294967294; the container has no such ID"),
    ],
)
@requires_busybox
def test_user_must_be_known_in_the_container(user: str, sentence: str) -> None:
    outcome = run("run", "-u", user, "true")

    assert read_refusal(outcome, 125).startswith(sentence)


@pytest.mark.parametrize("kind", ["missing", "FIFO", "directory", "loop", "link to a file"])
@pytest.mark.parametrize("mode", ["overlay", "rw"])
@requires_busybox
def test_users_are_read_from_a_regular_file_of_the_container_alone(
    rootfs: Path, outside: Path, mode: str, kind: str
) -> None:
    (outside / "secret").write_text("joe:x:0:0::/:/bin/sh\n")
    (rootfs / "etc/passwd").unlink()
    put(kind, rootfs / "etc/passwd", target=outside)

    with unchanged(rootfs, outside):
        outcome = run("run", "--rootfs", str(rootfs), "--rootfs-mode", mode, "-u", "joe", "true")

    sentence = "cannot find user 'joe' in /etc/passwd; the container has no such"
    assert read_refusal(outcome, 125) == sentence


@pytest.mark.parametrize("kind", ["missing", "FIFO", "directory", "loop", "link to a file"])
@requires_busybox
def test_root_needs_no_users(rootfs: Path, outside: Path, kind: str) -> None:
    (rootfs / "etc/passwd").unlink()
    put(kind, rootfs / "etc/passwd", target=outside)

    outcome = run("run", "--rootfs", str(rootfs), "/bin/sh", "-c", "echo $HOME")

    assert outcome == (0, "/\n", "")


@requires_busybox
def test_link_to_the_users_is_followed_inside(rootfs: Path) -> None:
    (rootfs / "etc/users").write_text("joe:x:0:0::/home/joe:/bin/sh\n")
    (rootfs / "etc/passwd").unlink()
    (rootfs / "etc/passwd").symlink_to("/etc/users")

    outcome = run("run", "--rootfs", str(rootfs), "-u", "joe", "/bin/sh", "-c", "echo $HOME")

    assert outcome == (0, "/home/joe\n", "")


@requires_busybox
def test_users_of_a_huge_file_are_read_from_its_beginning(rootfs: Path) -> None:
    passwd = rootfs / "etc/passwd"
    passwd.write_text("joe:x:0:0::/home/joe:/bin/sh\n")
    os.truncate(passwd, 2**40)

    outcome = run("run", "--rootfs", str(rootfs), "-u", "joe", "/bin/sh", "-c", "echo $HOME")

    assert outcome == (0, "/home/joe\n", "")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["frobnicate"], 127, "cannot execute 'frobnicate': No such file or directory (ENOENT)"),
        (["/bin/frobnicate"], 127, "cannot execute '/bin/frobnicate': No such file or directory"),
        (["two\nlines"], 127, r"cannot execute 'two\nlines': No such file or directory (ENOENT)"),
        (["/etc/hosts"], 126, "cannot execute '/etc/hosts': Permission denied (EACCES)"),
        (["/etc"], 126, "cannot execute '/etc': Permission denied (EACCES)"),
    ],
)
@pytest.mark.parametrize("mode", ["overlay", "rw"])
@requires_busybox
def test_command_must_be_there_and_executable(
    rootfs: Path, words: list[str], code: int, sentence: str, mode: str
) -> None:
    with unchanged(rootfs):
        outcome = run("run", "--rootfs", str(rootfs), "--rootfs-mode", mode, *words)

    assert read_refusal(outcome, code).startswith(sentence)


@pytest.fixture(params=["absent", "not executable", "not static", "no program"])
def useless_busybox(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """What is in the place of busybox, and what is said about it."""
    missing = "cannot find a static busybox; install busybox-static"
    dynamic = "; it is not static; install busybox-static"
    path = tmp_path / "busybox"
    match request.param:
        case "absent":
            return Path(os.devnull), missing
        case "not executable":
            shutil.copy(BUSYBOX, path)
            path.chmod(0o644)
            return path, missing
        case "not static":
            shutil.copy("/bin/ls", path)
        case _:
            path.write_text("#!/bin/sh\n")
            path.chmod(0o755)
    return path, dynamic


@requires_busybox
def test_busybox_that_is_asked_for_must_be_of_use(useless_busybox: tuple[Path, str]) -> None:
    stand_in, sentence = useless_busybox

    outcome = run_prepared(lambda: hide_busybox(stand_in), "run", "--rootfs", "busybox", "true")

    assert sentence in read_refusal(outcome, 125)


@requires_busybox
def test_host_stands_in_for_a_useless_busybox_and_that_is_said(
    useless_busybox: tuple[Path, str],
) -> None:
    stand_in, sentence = useless_busybox

    outcome = run_prepared(lambda: hide_busybox(stand_in), "run", "true")

    assert outcome.code == 0
    assert outcome.stderr.startswith("mocker run: using --rootfs host: ")
    assert sentence in outcome.stderr
    assert outcome.stderr.count("\n") == 1


@requires_busybox
@requires_user
def test_busybox_that_may_not_be_read_counts_as_absent(tmp_path: Path) -> None:
    path = tmp_path / "busybox"
    shutil.copy(BUSYBOX, path)
    path.chmod(0o111)

    outcome = run_prepared(lambda: hide_busybox(path), "run", "--rootfs", "busybox", "true")

    assert read_refusal(outcome, 125).startswith("cannot find a static busybox; ")


@requires_user
def test_only_root_shares_the_hosts_user_namespace() -> None:
    outcome = run("run", "--userns", "host", "true")

    sentence = "cannot share the host's user namespace; only root may do that"
    assert read_refusal(outcome, 125) == sentence


@requires_busybox
@requires_root
def test_file_system_whose_owners_cannot_be_mapped_is_no_volume_of_roots() -> None:
    outcome = run("run", "-v", "/proc/sys:/data", "true")

    reason = " in /proc/sys: Invalid argument (EINVAL); its file system, or one below, can't; "
    assert reason in read_refusal(outcome, 125)
