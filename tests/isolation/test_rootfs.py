import os
import shutil
from pathlib import Path

import pytest

from mocker.isolation import CommandError, ContainerSpec, SetupError, Volume, describe
from mocker.isolation.busybox import find_busybox
from tests.containers import Outcome, in_container, make_rootfs, make_spec, run_captured, script
from tests.requirements import requires_root, requires_user


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A directory with busybox, a file to change and one to remove."""
    root = make_rootfs(tmp_path)
    for name in ("etc", "srv"):
        (root / name).mkdir()
    (root / "etc/hosts").write_text("of the directory\n")
    (root / "srv/changed").write_text("before\n")
    (root / "srv/removed").write_text("before\n")
    return root


def run_in(rootfs: Path, text: str, **fields: object) -> Outcome:
    """Run a script in a directory; busybox's shell finds its applets in itself."""
    return run_captured(script(text, rootfs=str(rootfs), **fields))


def list_tree(top: Path) -> dict[str, tuple[int, int, str]]:
    """Return what is in a directory: mode, owner, and content or target."""
    return {
        str(path.relative_to(top)): (path.lstat().st_mode, path.lstat().st_uid, read(path))
        for path in sorted(top.rglob("*"))
        if path.name != "sh"
    }


def read(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    return path.read_text() if path.is_file() else ""


CHANGES = """\
set -e
echo after >/srv/changed
rm /srv/removed
mkdir -p /srv/deep/er
echo new >/srv/deep/er/new
chmod 0700 /srv
echo inside >>/etc/hosts
cat /srv/changed /srv/deep/er/new
test ! -e /srv/removed
"""


@in_container
def test_fresh_root_has_the_usual_directories() -> None:
    outcome = run_captured(script("stat -c '%a %U %n' /* /var/tmp; ls -l /sbin /usr/bin /var/run"))

    lines = outcome.stdout.splitlines()
    assert {line for line in lines if line.split()[1] == "root" and len(line.split()) == 3} >= {
        "755 root /bin",
        "755 root /etc",
        "755 root /home",
        "700 root /root",
        "755 root /run",
        "1777 root /tmp",
        "755 root /usr",
        "755 root /var",
        "1777 root /var/tmp",
    }
    assert [line.split(" -> ")[-1] for line in lines if " -> " in line] == [
        "bin",
        "../bin",
        "../run",
    ]


@in_container
def test_fresh_root_is_empty_but_for_these() -> None:
    outcome = run_captured(script("cd /; echo *; ls -A /etc /tmp /root /run /home /var/tmp"))

    first, *rest = outcome.stdout.split("\n", 1)
    assert first == "bin dev etc home proc root run sbin sys tmp usr var"
    assert rest[0].split() == [
        "/etc:",
        "group",
        "hostname",
        "hosts",
        "passwd",
        "resolv.conf",
        "/home:",
        "/root:",
        "/run:",
        "/tmp:",
        "/var/tmp:",
    ]


@in_container
def test_every_applet_is_a_name_of_busybox() -> None:
    outcome = run_captured(
        script("cd /bin; for n in *; do test $n -ef busybox || echo $n; done; ls")
    )

    assert set(outcome.stdout.split()) == {"busybox", *find_busybox().applets}


@in_container
def test_fresh_root_can_be_written_to_and_busybox_cannot() -> None:
    before = Path(find_busybox().path).stat()
    text = """\
    touch /new /etc/new /usr/new /root/new && echo written
    grep /bin/busybox /proc/mounts | cut -d ' ' -f 4
    echo junk >>/bin/busybox
    """

    outcome = run_captured(script(text))

    assert outcome.stdout.startswith("written\nro,nosuid,nodev,")
    assert "can't create /bin/busybox" in outcome.stderr
    assert Path(find_busybox().path).stat().st_mtime_ns == before.st_mtime_ns


@requires_user
@in_container
def test_busybox_of_the_caller_is_copied_so_that_it_cannot_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path(shutil.copy(find_busybox().path, tmp_path / "busybox"))
    before = own.stat()
    monkeypatch.setenv("PATH", str(tmp_path))

    outcome = run_captured(script("rm /bin/busybox && echo removed"))

    assert outcome.stdout == "removed\n"
    assert own.stat() == before


@requires_root
@in_container
def test_root_without_a_user_namespace_gets_a_copy_of_busybox() -> None:
    before = Path(find_busybox().path).stat()

    outcome = run_captured(script("rm /bin/busybox && echo removed", userns="host"))

    assert outcome.stdout == "removed\n"
    assert Path(find_busybox().path).stat() == before


@in_container
def test_what_is_done_to_a_directory_is_seen_inside_and_gone_afterwards(rootfs: Path) -> None:
    before = list_tree(rootfs)

    outcome = run_in(rootfs, CHANGES)

    assert outcome == (outcome.status, "after\nnew\n", "")
    assert outcome.status.success
    assert list_tree(rootfs) == before


@in_container
def test_two_containers_of_one_directory_do_not_see_each_other(rootfs: Path) -> None:
    first = run_in(rootfs, CHANGES)

    second = run_in(rootfs, "cat /srv/changed /srv/removed")

    assert first.status.success
    assert second.stdout == "before\nbefore\n"


@in_container
def test_directory_is_written_through_if_asked_for(rootfs: Path) -> None:
    outcome = run_in(rootfs, CHANGES.replace("chmod 0700 /srv", ""), rootfs_mode="rw")

    assert outcome.status.success, outcome.stderr
    assert (rootfs / "srv/changed").read_text() == "after\n"
    assert (rootfs / "srv/deep/er/new").read_text() == "new\n"
    assert (rootfs / "srv/deep/er/new").stat().st_uid == os.geteuid()
    assert not (rootfs / "srv/removed").exists()


@in_container
def test_directory_that_is_written_through_gets_no_file_of_mockers(rootfs: Path) -> None:
    outcome = run_in(rootfs, "cat /etc/hosts; ls /etc", rootfs_mode="rw", hostname="inside")

    assert "127.0.1.1\tinside\n" in outcome.stdout
    assert outcome.stdout.endswith("\nhosts\n")
    assert (rootfs / "etc/hosts").read_text() == "of the directory\n"
    assert [path.name for path in (rootfs / "etc").iterdir()] == ["hosts"]


@in_container
@pytest.mark.parametrize("fields", [{}, {"rootfs": "host"}, {"rootfs": "directory"}])
def test_root_forbids_writing_if_asked_for(rootfs: Path, fields: dict[str, str]) -> None:
    if fields.get("rootfs") == "directory":
        fields = {"rootfs": str(rootfs)}
    text = "for d in / /etc /bin /srv /home /tmp; do (: >$d/new) && echo wrote to $d; done"

    outcome = run_captured(script(text, read_only=True, **fields))

    assert outcome.stdout == ""
    assert "Read-only file system" in outcome.stderr


@in_container
def test_directory_shows_its_own_mode_as_root(rootfs: Path) -> None:
    rootfs.chmod(0o711)

    outcome = run_in(rootfs, "stat -c '%a %u %g' /")

    assert outcome.stdout == "711 0 0\n"


@in_container
def test_file_of_the_caller_belongs_to_root_inside(rootfs: Path) -> None:
    outcome = run_in(rootfs, "stat -c '%u:%g' /srv/changed")

    assert outcome.stdout == "0:0\n"


@requires_root
@in_container
def test_owners_of_a_directory_are_the_same_inside_and_outside(rootfs: Path) -> None:
    os.chown(rootfs / "srv/changed", 1234, 5678)

    outcome = run_in(
        rootfs,
        "stat -c '%u:%g' /srv/changed; touch /srv/new; chown 42:43 /srv/new",
        rootfs_mode="rw",
    )

    stat = (rootfs / "srv/new").stat()
    assert outcome.stdout == "1234:5678\n"
    assert (stat.st_uid, stat.st_gid) == (42, 43)


@in_container
def test_directory_gets_what_every_container_has(rootfs: Path) -> None:
    text = "ls / /dev; cat /etc/hostname /etc/hosts; grep -c . /proc/mounts"

    outcome = run_in(rootfs, text, hostname="inside")

    words = outcome.stdout.split()
    assert {"dev", "proc", "sys", "null", "inside", "localhost"} <= set(words)
    assert "directory" not in words


@in_container
@pytest.mark.parametrize("target", ["/mnt/outside", "../../outside", "/", "..", "/nowhere"])
def test_etc_that_leads_out_leads_nowhere(rootfs: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/hosts").write_text("untouched")
    shutil.rmtree(rootfs / "etc")
    (rootfs / "etc").symlink_to(target)
    before = list_tree(tmp_path)

    outcome = run_in(rootfs, "cat /etc/hostname")

    assert outcome.stdout == "containerhostname\n"
    assert list_tree(tmp_path) == before


@in_container
@pytest.mark.parametrize("up", ["", "/..", "/../../../.."])
def test_file_of_etc_that_leads_nowhere_is_made_inside(
    rootfs: Path, tmp_path: Path, up: str
) -> None:
    (rootfs / "etc/hosts").unlink()
    (rootfs / "etc/hosts").symlink_to(f"{up}{tmp_path}/new")
    before = list_tree(tmp_path)

    outcome = run_in(rootfs, "cat /etc/hosts")

    assert "127.0.0.1\tlocalhost\n" in outcome.stdout
    assert list_tree(tmp_path) == before


@in_container
def test_directory_without_etc_gets_one(rootfs: Path) -> None:
    shutil.rmtree(rootfs / "etc")

    outcome = run_in(rootfs, "cat /etc/hostname")

    assert outcome.stdout == "containerhostname\n"
    assert not (rootfs / "etc").exists()


@in_container
def test_mount_point_that_is_written_through_stays_when_the_start_fails_afterwards(
    rootfs: Path, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir(mode=0o755)
    volumes = [Volume(str(tmp_path / "source"), "/data")]
    spec = make_spec(argv=["nowhere"], rootfs=str(rootfs), rootfs_mode="rw", volumes=volumes)

    with pytest.raises(CommandError):
        run_captured(spec)

    assert (rootfs / "data").is_dir()


@in_container
def test_etc_that_is_a_file_is_refused(rootfs: Path) -> None:
    shutil.rmtree(rootfs / "etc")
    (rootfs / "etc").touch()

    with pytest.raises(SetupError, match=r"cannot bind .* on /etc: Not a directory \(ENOTDIR\)"):
        run_in(rootfs, "true")


@in_container
@pytest.mark.parametrize("name", ["a b", "a,b", "a:b", "a\\b", "a\nb", 'a"b', "ä", "\udcff"])
def test_name_of_a_directory_may_be_anything(rootfs: Path, name: str) -> None:
    renamed = rootfs.rename(rootfs.with_name(name))

    outcome = run_in(renamed, "cat /srv/changed")

    assert outcome.stdout == "before\n"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/no/such/directory", r"cannot open the rootfs /no/such/directory: .*\(ENOENT\)"),
        ("/etc/passwd", "cannot use the rootfs /etc/passwd; it is not a directory"),
        ("/etc/passwd/x", r"cannot open the rootfs /etc/passwd/x: .*\(ENOTDIR\)"),
    ],
)
def test_rootfs_that_is_no_directory_is_refused(path: str, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        describe(ContainerSpec(["true"], rootfs=path))
