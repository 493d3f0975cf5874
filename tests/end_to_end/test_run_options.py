"""The options of `mocker run` one by one, the default root, and `mocker check-host`."""

import os
import pwd
import re
import select
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cgroups import HIERARCHY, ROOT
from tests.conftest import Mocker
from tests.end_to_end.processes import (
    MOCKER,
    PATIENCE,
    find_descendants,
    open_run,
    read_line,
    wait_until,
)
from tests.requirements import (
    IS_ROOT,
    requires_busybox,
    requires_commands,
    requires_root,
    requires_subordinate_ids,
    requires_user,
    requires_user_namespaces,
)

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

requires_private_mounts = requires_commands("unshare", "mount")

# Where mounts can be changed without anybody else noticing.
PRIVATE_MOUNTS = ["unshare", "--mount"]
if not IS_ROOT:
    PRIVATE_MOUNTS += ["--user", "--map-root-user"]

# Where what is granted to user namespaces can be changed without anybody else noticing.
PRIVATE_LIMITS = ["unshare", "--user", "--map-root-user"]

BUSYBOX = Path(shutil.which("busybox") or "/")


def run_in(
    wrapper: Sequence[str], script: str, *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """Run a shell script whose $0 is the command `mocker`."""
    return subprocess.run(
        [*wrapper, "sh", "-c", script, MOCKER, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A directory to be used as a root, with busybox, users of its own, and a file `old`."""
    directory = tmp_path / "rootfs"
    (directory / "bin").mkdir(parents=True)
    (directory / "etc").mkdir()
    shutil.copy(BUSYBOX, directory / "bin/busybox")
    for applet in ("cat", "id", "ls", "mkdir", "rm", "sh", "stat", "touch"):
        (directory / "bin" / applet).symlink_to("busybox")
    (directory / "etc/passwd").write_text(
        "root:x:0:0::/here:/bin/sh\nalice:x:1234:1234::/home/alice:/bin/sh\n"
    )
    (directory / "etc/group").write_text("root:x:0:\nalice:x:1234:\ncrew:x:77:bob,alice\n")
    (directory / "old").write_text("old\n")
    return directory


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A directory to be mounted, with a file `old`."""
    directory = tmp_path / "volume"
    directory.mkdir()
    (directory / "old").write_text("old\n")
    return directory


# -v, --volume


@pytest.mark.parametrize("option", ["-v", "--volume"])
def test_volume_is_read_and_written(mocker: Mocker, volume: Path, option: str) -> None:
    script = "cat /data/old; echo new >/data/new"

    result = mocker("run", option, f"{volume}:/data", "sh", "-c", script)

    assert (result.stdout, result.stderr) == ("old\n", "")
    assert (volume / "new").read_text() == "new\n"


def test_volume_may_be_called_writable(mocker: Mocker, volume: Path) -> None:
    mocker("run", "-v", f"{volume}:/data:rw", "touch", "/data/new")

    assert (volume / "new").exists()


def test_read_only_volume_can_be_read_and_not_written(mocker: Mocker, volume: Path) -> None:
    script = "cat /data/old; touch /data/new; rm /data/old; echo changed >/data/old"

    result = mocker("run", "-v", f"{volume}:/data:ro", "sh", "-c", script)

    assert result.stdout == "old\n"
    assert result.stderr.count("Read-only file system") == 3
    assert (volume / "old").read_text() == "old\n"


def test_volume_may_be_a_file(mocker: Mocker, volume: Path) -> None:
    script = "cat /etc/motd; echo new >>/etc/motd"

    result = mocker("run", "-v", f"{volume}/old:/etc/motd", "sh", "-c", script)

    assert result.stdout == "old\n"
    assert (volume / "old").read_text() == "old\nnew\n"


def test_read_only_file_can_not_be_written(mocker: Mocker, volume: Path) -> None:
    result = mocker("run", "-v", f"{volume}/old:/x:ro", "sh", "-c", "echo new >/x")

    assert result.stderr.endswith("/x: Read-only file system\n")
    assert (volume / "old").read_text() == "old\n"


def test_destination_is_made_with_its_parents(mocker: Mocker, volume: Path) -> None:
    result = mocker("run", "-v", f"{volume}:/a/b/c", "cat", "/a/b/c/old")

    assert result.stdout == "old\n"


def test_volume_hides_what_is_below_it(mocker: Mocker, volume: Path) -> None:
    result = mocker("run", "-v", f"{volume}:/etc", "ls", "/etc")

    assert result.stdout == "old\n"


def test_source_is_found_from_the_callers_directory(mocker: Mocker, volume: Path) -> None:
    result = mocker("run", "-v", "volume:/data", "cat", "/data/old", cwd=volume.parent)

    assert result.stdout == "old\n"


@pytest.mark.parametrize("order", [1, -1])
def test_volumes_are_nested_whatever_their_order(
    mocker: Mocker, volume: Path, tmp_path: Path, order: int
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("other\n")
    volumes = [f"--volume={volume}:/data", f"--volume={tmp_path}/other:/data/below"][::order]

    result = mocker("run", *volumes, "cat", "/data/old", "/data/below/file")

    assert result.stdout == "old\nother\n"


def test_volume_is_seen_inside_a_tmpfs(mocker: Mocker, volume: Path) -> None:
    options = ["-v", f"{volume}:/data/below", "--tmpfs", "/data"]

    result = mocker("run", *options, "sh", "-c", "ls /data; cat /data/below/old; touch /data/x")

    assert (result.stdout, result.stderr) == ("below\nold\n", "")


@requires_private_mounts
@pytest.mark.parametrize(("mode", "refusals"), [("rw", 0), ("ro", 2)])
def test_mounts_below_a_volume_come_along(
    volume: Path, tmp_path: Path, mode: str, refusals: int
) -> None:
    for path in (volume / "below", tmp_path / "other"):
        path.mkdir()
    script = f"""
        mount --bind "$2" "$1/below" &&
        "$0" run -v "$1:/data:{mode}" touch /data/new /data/below/new
        ls "$1" "$2"
    """

    result = run_in(PRIVATE_MOUNTS, script, volume, tmp_path / "other")

    assert result.stderr.count("Read-only file system") == refusals
    assert result.stdout.split().count("new") == 2 - refusals


@pytest.mark.parametrize(
    "userns", ["private", pytest.param("host", marks=requires_root)]
)  # fmt: skip
@pytest.mark.parametrize(
    "trick",
    [
        "mount -o remount,rw /data; touch /data/new",
        "mount -o remount,bind,rw /data; touch /data/new",
        "umount /data; touch /data/new",
        "umount -l /data; touch /data/new",
        "mount --bind /data /mnt; mount -o remount,bind,rw /mnt; touch /mnt/new",
        "mount --rbind /data /mnt; mount -o remount,bind,rw /mnt; touch /mnt/new",
        "mount --move /data /mnt; mount -o remount,bind,rw /mnt; touch /mnt/new",
        "unshare -m sh -c 'mount -o remount,bind,rw /data; touch /data/new'",
        "unshare -U -r -m sh -c 'mount -o remount,bind,rw /data; touch /data/new'",
        "nsenter -t 1 -m sh -c 'mount -o remount,bind,rw /data; touch /data/new'",
        "chmod 777 /data; touch /data/new",
        "chroot /proc/self/root touch /data/new",
    ],
)
def test_root_inside_can_not_write_to_a_read_only_volume(
    mocker: Mocker, volume: Path, userns: str, trick: str
) -> None:
    mode = volume.stat().st_mode
    options = ["--userns", userns, "-v", f"{volume}:/data:ro"]

    result = mocker("run", *options, "sh", "-c", f"mkdir -p /mnt; {trick}; :")

    assert (result.stderr != "", result.returncode) == (True, 0)
    assert [path.name for path in volume.iterdir()] == ["old"]
    assert volume.stat().st_mode == mode


def test_read_only_mount_is_there_after_unmounting_was_tried(mocker: Mocker, volume: Path) -> None:
    # The control of the test above: its tricks are refused, and don't merely miss the volume.
    script = "umount /data; umount -l /data; cat /data/old"

    result = mocker("run", "-v", f"{volume}:/data:ro", "sh", "-c", script)

    assert result.stdout == "old\n"


# --tmpfs


def test_tmpfs_is_empty_and_everybody_may_write_there(mocker: Mocker) -> None:
    script = "ls -A /etc; stat -c %a /etc; touch /etc/new && ls /etc"

    result = mocker("run", "--tmpfs", "/etc", "sh", "-c", script)

    assert (result.stdout, result.stderr) == ("1777\nnew\n", "")


@pytest.mark.parametrize(
    ("size", "blocks"), [("1048576", 1024), ("64k", 64), ("64m", 65536), ("1G", 2**20)]
)
def test_tmpfs_has_the_size(mocker: Mocker, size: str, blocks: int) -> None:
    result = mocker("run", "--tmpfs", f"/data:size={size}", "df", "-k", "/data")

    assert int(result.stdout.splitlines()[1].split()[1]) == blocks


def test_tmpfs_takes_no_more_than_its_size(mocker: Mocker) -> None:
    script = "dd if=/dev/zero of=/data/x bs=100k count=1; wc -c </data/x"

    result = mocker("run", "--tmpfs", "/data:size=64k", "sh", "-c", script)

    assert "No space left on device" in result.stderr
    assert int(result.stdout) == 64 * 1024


def test_tmpfs_has_the_mode(mocker: Mocker) -> None:
    result = mocker("run", "--tmpfs", "/data:size=1m,mode=750", "stat", "-c", "%a", "/data")

    assert result.stdout == "750\n"


# -e, --env, --env-file


@pytest.mark.parametrize("rootfs_option", [[], ["--rootfs", "host"]])
def test_environment_has_four_variables_and_nothing_of_the_hosts(
    mocker: Mocker, rootfs_option: list[str]
) -> None:
    env = {**os.environ, "TOKEN": "secret", "LC_ALL": "C", "EDITOR": "vi", "TERM": "xterm-256color"}

    result = mocker("run", *rootfs_option, "env", env=env)

    home = pwd.getpwuid(os.getuid()).pw_dir if rootfs_option else "/root"
    assert sorted(result.stdout.splitlines()) == [
        f"HOME={home}",
        "HOSTNAME=containerhostname",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "TERM=dumb",
    ]


@pytest.mark.parametrize("rootfs_option", [[], ["--rootfs", "host"]])
def test_environment_of_the_host_is_not_needed(mocker: Mocker, rootfs_option: list[str]) -> None:
    result = mocker("run", *rootfs_option, "echo", "hi", env={})

    assert (result.stdout, result.stderr) == ("hi\n", "")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["-e", "A=1"], "A=1"),
        (["--env", "A=1"], "A=1"),
        (["--env=A=1"], "A=1"),
        (["-e", "A="], "A="),
        (["-e", "A=b=c d"], "A=b=c d"),
        (["-e", "A=ü"], "A=ü"),
        (["-e", "A"], "A=of the caller"),
        (["-e", "A=1", "-e", "A=2"], "A=2"),
        (["-e", "HOME=/tmp"], "HOME=/tmp"),
        (["-e", "PATH=/bin"], "PATH=/bin"),
        (["-e", "TERM"], "TERM=xterm-256color"),
        (["--hostname", "web", "-e", "HOSTNAME=other"], "HOSTNAME=other"),
    ],
)
def test_variable_is_set(mocker: Mocker, options: list[str], line: str) -> None:
    env = {**os.environ, "A": "of the caller", "TERM": "xterm-256color"}

    result = mocker("run", *options, "env", env=env)

    key = line.partition("=")[0]
    assert [text for text in result.stdout.splitlines() if text.startswith(f"{key}=")] == [line]


def test_variable_that_the_caller_has_not_is_not_set(mocker: Mocker) -> None:
    result = mocker("run", "-e", "NO_SUCH_VARIABLE", "env")

    assert "NO_SUCH_VARIABLE" not in result.stdout


def test_variables_are_read_from_a_file(mocker: Mocker, tmp_path: Path) -> None:
    file = tmp_path / "variables"
    file.write_text("# a comment\n\nA=1\nB=two words = three\nC\nD\nE='quoted'\n")
    env = {"C": "of the caller"}

    result = mocker("run", "--env-file", str(file), "env", env=env)

    lines = [line for line in result.stdout.splitlines() if line[1] == "="]
    assert sorted(lines) == ["A=1", "B=two words = three", "C=of the caller", "E='quoted'"]


def test_variable_of_the_command_line_beats_the_files(mocker: Mocker, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("A=1\nB=1\nC=1\n")
    (tmp_path / "two").write_text("A=2\nB=2\n")
    options = ["-e", "A=3", "--env-file", f"{tmp_path}/one", "--env-file", f"{tmp_path}/two"]

    result = mocker("run", *options, "sh", "-c", "echo $A $B $C")

    assert result.stdout == "3 2 1\n"


# -w, --workdir


def test_command_starts_at_the_root(mocker: Mocker, tmp_path: Path) -> None:
    result = mocker("run", "pwd", cwd=tmp_path)

    assert result.stdout == "/\n"


@pytest.mark.parametrize("option", ["-w", "--workdir"])
@pytest.mark.parametrize("directory", ["/etc", "/made/for/this", "/data/below"])
def test_command_starts_in_the_directory(
    mocker: Mocker, volume: Path, option: str, directory: str
) -> None:
    (volume / "below").mkdir()

    result = mocker("run", "-v", f"{volume}:/data", option, directory, "pwd")

    assert (result.stdout, result.stderr) == (f"{directory}\n", "")


@requires_commands("bash")
@pytest.mark.parametrize("rootfs", ["busybox", "host"])
def test_directory_that_the_caller_has_open_is_no_place_to_start(
    tmp_path: Path, rootfs: str
) -> None:
    (tmp_path / "canary").touch()
    hold = 'for n in {3..12}; do eval "exec $n<$0"; done; (cd /proc/self/fd/9 && ls)'
    run = f"{MOCKER} run --rootfs {rootfs} -w /proc/self/fd/$n ls; echo $?"

    result = subprocess.run(
        ["bash", "-c", f"{hold}; for n in {{3..12}}; do {run}; done", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )

    # The path of CVE-2024-21626.
    seen, *codes = result.stdout.split()
    assert seen == "canary"
    assert codes == ["125"] * 10
    assert result.stderr.count("mocker run: cannot ") == 10


# -u, --user


@requires_subordinate_ids
@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("nobody", "65534 65534"),
        ("www-data", "33 33"),
        ("nobody:users", "65534 100"),
        ("nobody:5", "65534 5"),
        ("33", "33 33"),
        ("1234", "1234 0"),
        ("1234:5678", "1234 5678"),
        ("1234:users", "1234 100"),
        ("0:5", "0 5"),
        ("root", "0 0"),
    ],
)
def test_command_runs_as_the_user(mocker: Mocker, user: str, ids: str) -> None:
    result = mocker("run", "-u", user, "sh", "-c", "echo $(id -u) $(id -g)")

    assert (result.stdout, result.stderr) == (f"{ids}\n", "")


@requires_subordinate_ids
def test_user_is_looked_up_in_the_container(mocker: Mocker, rootfs: Path) -> None:
    options = ["--rootfs", str(rootfs), "--user", "alice"]

    result = mocker("run", *options, "sh", "-c", "id -u; id -g; id -G; echo $HOME")

    assert result.stdout.splitlines() == ["1234", "1234", "1234 77", "/home/alice"]


@requires_subordinate_ids
def test_group_that_is_named_is_the_only_one(mocker: Mocker, rootfs: Path) -> None:
    result = mocker("run", "--rootfs", str(rootfs), "-u", "alice:crew", "id", "-G")

    assert result.stdout == "77\n"


def test_user_of_the_host_is_not_one_of_the_container(mocker: Mocker, rootfs: Path) -> None:
    result = mocker("run", "--rootfs", str(rootfs), "-u", "nobody", "id")

    assert (result.stdout, result.returncode) == ("", 125)
    assert result.stderr == (
        "mocker run: cannot find user 'nobody' in /etc/passwd; the container has no such\n"
    )


@requires_subordinate_ids
def test_user_has_no_capabilities(mocker: Mocker) -> None:
    result = mocker("run", "-u", "nobody", "grep", "CapEff", "/proc/self/status")

    assert int(result.stdout.split()[1], 16) == 0


# --read-only


@pytest.mark.parametrize("directory", ["/", "/bin", "/etc", "/tmp", "/root"])
def test_read_only_root_can_not_be_written(mocker: Mocker, directory: str) -> None:
    result = mocker("run", "--read-only", "touch", f"{directory}/new")

    assert result.stderr.endswith("Read-only file system\n")
    assert result.returncode == 1


@pytest.mark.parametrize("directory", ["/", "/etc", "/home", "/tmp", "/usr"])
def test_read_only_host_can_not_be_written(mocker: Mocker, directory: str) -> None:
    result = mocker("run", "--rootfs", "host", "--read-only", "touch", f"{directory}/new")

    assert result.stderr.endswith("Read-only file system\n")
    assert result.returncode == 1


def test_read_only_root_has_places_that_can_be_written(mocker: Mocker, volume: Path) -> None:
    options = ["--read-only", "-v", f"{volume}:/data", "--tmpfs", "/tmp", "--tmpfs", "/made"]
    script = "touch /data/new /tmp/new /made/new /dev/shm/new && echo written >/dev/null"

    result = mocker("run", *options, "sh", "-c", script)

    assert (result.stderr, result.returncode) == ("", 0)
    assert (volume / "new").exists()


@pytest.mark.parametrize(
    "trick", ["mount -o remount,rw /", "mount -o remount,bind,rw /", "umount -l /"]
)
def test_root_inside_can_not_make_the_root_writable(mocker: Mocker, trick: str) -> None:
    result = mocker("run", "--read-only", "sh", "-c", f"{trick}; touch /new")

    assert result.stderr.endswith("touch: /new: Read-only file system\n")


# --rootfs DIR


def test_directory_is_the_root(mocker: Mocker, rootfs: Path) -> None:
    result = mocker("run", "--rootfs", str(rootfs), "sh", "-c", "cat /old; echo /*; echo ~")

    assert result.stdout == "old\n/bin /dev /etc /old /proc /sys\n/here\n"


def test_directory_may_be_relative(mocker: Mocker, rootfs: Path) -> None:
    result = mocker("run", "--rootfs", "rootfs", "cat", "/old", cwd=rootfs.parent)

    assert result.stdout == "old\n"


def test_directory_may_have_any_name(mocker: Mocker, rootfs: Path) -> None:
    strange = rootfs.rename(rootfs.with_name("a b,c:d=e\\f\"g'ü"))

    result = mocker("run", "--rootfs", str(strange), "cat", "/old")

    assert (result.stdout, result.stderr) == ("old\n", "")


DEEDS = "touch /new /etc/new; rm /old; mkdir /made; echo changed >/etc/passwd"


@pytest.mark.parametrize("options", [[], ["--rootfs-mode", "overlay"]])
def test_writes_to_a_directory_vanish(mocker: Mocker, rootfs: Path, options: list[str]) -> None:
    before = list_tree(rootfs)
    script = f"{DEEDS}; cat /etc/passwd; echo /*"

    result = mocker("run", "--rootfs", str(rootfs), *options, "sh", "-c", script)

    assert result.stdout == "changed\n/bin /dev /etc /made /new /proc /sys\n"
    assert (result.stderr, list_tree(rootfs)) == ("", before)


def test_writes_to_a_directory_stay_with_mode_rw(mocker: Mocker, rootfs: Path) -> None:
    options = ["--rootfs", str(rootfs), "--rootfs-mode", "rw"]

    result = mocker("run", *options, "sh", "-c", DEEDS)

    assert result.stderr == ""
    assert [(rootfs / name).exists() for name in ("new", "etc/new", "made", "old")] == [
        True, True, True, False
    ]  # fmt: skip
    assert (rootfs / "etc/passwd").read_text() == "changed\n"


def test_writes_to_a_directory_are_refused_with_read_only(mocker: Mocker, rootfs: Path) -> None:
    before = list_tree(rootfs)

    result = mocker("run", "--rootfs", str(rootfs), "--read-only", "sh", "-c", DEEDS)

    assert result.stderr.count("Read-only file system") == 5
    assert list_tree(rootfs) == before


def test_files_made_with_mode_rw_belong_to_the_caller(mocker: Mocker, rootfs: Path) -> None:
    mocker("run", "--rootfs", str(rootfs), "--rootfs-mode", "rw", "touch", "/new")

    assert (rootfs / "new").stat().st_uid == os.getuid()


@requires_root
@pytest.mark.parametrize("mode", ["overlay", "rw"])
def test_directory_shows_the_owners_that_the_host_sees(
    mocker: Mocker, rootfs: Path, mode: str
) -> None:
    os.chown(rootfs / "old", 1234, 77)
    options = ["--rootfs", str(rootfs), "--rootfs-mode", mode]

    result = mocker("run", *options, "stat", "-c", "%u:%g", "/old", "/", "/bin/busybox")

    assert result.stdout.split() == ["1234:77", "0:0", "0:0"]


def test_directory_is_a_jail(mocker: Mocker, rootfs: Path) -> None:
    (rootfs.parent / "secret").write_text("of the host")
    (rootfs / "link").symlink_to("../../../../../../" + str(rootfs.parent / "secret"))
    script = f"cat /../secret; cat {rootfs.parent}/secret; cat /link; cat /proc/1/root/../secret"

    result = mocker("run", "--rootfs", str(rootfs), "sh", "-c", script)

    assert (result.stdout, len(result.stderr.splitlines())) == ("", 4)


def list_tree(directory: Path) -> dict[str, bytes | None]:
    """Return all paths below a directory and what the files contain."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


# The default root


def test_root_is_busybox_by_default(mocker: Mocker) -> None:
    result = mocker("run", "readlink", "/bin/sh")

    assert (result.stdout, result.stderr) == ("busybox\n", "")


@pytest.mark.parametrize("path", [None, "", "/nonexistent"])
def test_busybox_is_found_where_path_has_none(mocker: Mocker, path: str | None) -> None:
    env = {} if path is None else {"PATH": path}

    result = mocker("run", "readlink", "/bin/sh", env=env)

    assert (result.stdout, result.stderr) == ("busybox\n", "")


def test_busybox_of_the_callers_path_is_taken_first(mocker: Mocker, tmp_path: Path) -> None:
    shutil.copy(BUSYBOX, tmp_path / "busybox")

    result = mocker("run", "--dry-run", "true", env={"PATH": str(tmp_path)})

    assert f"{tmp_path}/busybox on /bin/busybox\n" in result.stdout


# Hides every busybox of the host, and then goes on.
HIDE_BUSYBOX = """
    for place in $(echo $PATH:/bin:/usr/bin:/usr/local/bin:/sbin:/usr/sbin | tr : ' '); do
        [ ! -e $place/busybox ] || mount --bind /dev/null $place/busybox || exit 99
    done
"""


@requires_private_mounts
def test_root_is_the_host_where_no_busybox_is_and_one_line_says_so() -> None:
    result = run_in(PRIVATE_MOUNTS, f'{HIDE_BUSYBOX} "$0" run cat /etc/os-release')

    assert result.stdout == Path("/etc/os-release").read_text()
    assert result.returncode == 0
    assert re.fullmatch(
        r"mocker run: using --rootfs host: .*busybox-static \(Debian.*\n", result.stderr
    )


@requires_private_mounts
def test_host_as_root_is_not_announced_where_it_was_asked_for() -> None:
    result = run_in(PRIVATE_MOUNTS, f'{HIDE_BUSYBOX} "$0" run --rootfs host echo hi')

    assert (result.stdout, result.stderr, result.returncode) == ("hi\n", "", 0)


@requires_private_mounts
def test_busybox_that_is_asked_for_and_missing_is_an_error_with_the_packages_name() -> None:
    result = run_in(PRIVATE_MOUNTS, f'{HIDE_BUSYBOX} "$0" run --rootfs busybox true')

    assert (result.stdout, result.returncode) == ("", 125)
    assert result.stderr == (
        "mocker run: cannot find a static busybox; install busybox-static "
        "(Debian, Ubuntu, Alpine) or busybox (Fedora, Arch)\n"
    )


@pytest.fixture
def dynamic_busybox(tmp_path: Path) -> Path:
    """A directory with a busybox that needs a loader; any program of the host does."""
    shutil.copy("/bin/ls", tmp_path / "busybox")
    return tmp_path


@requires_private_mounts
def test_busybox_that_is_not_static_is_an_error(dynamic_busybox: Path) -> None:
    script = f'{HIDE_BUSYBOX} PATH="$1:$PATH" exec "$0" run --rootfs busybox true'

    result = run_in(PRIVATE_MOUNTS, script, dynamic_busybox)

    assert (result.stdout, result.returncode) == ("", 125)
    assert result.stderr.startswith(
        f"mocker run: cannot use the busybox {dynamic_busybox}/busybox; "
        "it is not static; install busybox-static"
    )


def test_busybox_that_is_not_static_is_passed_over(mocker: Mocker, dynamic_busybox: Path) -> None:
    result = mocker("run", "readlink", "/bin/sh", env={"PATH": str(dynamic_busybox)})

    assert (result.stdout, result.stderr) == ("busybox\n", "")


# --ulimit


@pytest.mark.parametrize(
    ("limit", "letter", "values"),
    [
        ("nofile=256:512", "n", "256 512"),
        ("nofile=300", "n", "300 300"),
        ("core=0", "c", "0 0"),
        ("cpu=100:200", "t", "100 200"),
        ("fsize=unlimited", "f", "unlimited unlimited"),
        ("fsize=-1", "f", "unlimited unlimited"),
        ("stack=1048576:unlimited", "s", "1024 unlimited"),
    ],
)
def test_limit_is_set(mocker: Mocker, limit: str, letter: str, values: str) -> None:
    script = f"echo $(ulimit -S{letter}) $(ulimit -H{letter})"

    result = mocker("run", "--ulimit", limit, "sh", "-c", script)

    assert (result.stdout, result.stderr) == (f"{values}\n", "")


@requires_commands("prlimit")
def test_limit_above_the_callers_is_lowered_and_one_line_says_so() -> None:
    script = '"$0" run --ulimit nofile=1024:4096 sh -c "ulimit -Sn; ulimit -Hn"'

    result = run_in(["prlimit", "--nofile=100:200"], script)

    assert result.stdout.split() == ["200", "200"]
    assert result.stderr == (
        "mocker run: ulimit nofile is 200:200, not 1024:4096: "
        "the hard limit of the caller can't be raised\n"
    )


# --memory, --cpus and --pids-limit; where they can be had, see tests/vm


@pytest.mark.parametrize("option", [["--memory", "32m"], ["--cpus", "0.5"], ["--pids-limit", "9"]])
def test_limit_that_this_host_cannot_have_lets_nothing_start(
    mocker: Mocker, option: list[str]
) -> None:
    # With version 2 alone, and nothing else, it is what a user without a manager has.
    result = mocker("run", *option, "echo", "started", env={"PATH": os.environ["PATH"]})

    if HIERARCHY == ROOT and IS_ROOT:
        assert (result.returncode, result.stdout) == (0, "started\n")
        return
    assert (result.returncode, result.stdout) == (125, "")
    assert result.stderr.startswith("mocker run: cannot limit a container; ")
    assert len(result.stderr.splitlines()) == 1


def test_dry_run_tells_of_limits(mocker: Mocker) -> None:
    result = mocker("run", "--dry-run", "-m", "32m", "--cpus", "1.5", "true")

    lines = result.stdout.splitlines()
    assert lines[0] == "make a cgroup with cpus 1.5, memory 33554432"
    assert "hide all cgroups but its own" in lines
    assert "mount cgroup2 on /sys/fs/cgroup" in lines


# -i and -t, and how options end


@pytest.mark.parametrize(
    "options", [["-i"], ["-t"], ["-it"], ["-ti"], ["-i", "-t"], ["--interactive", "--tty"]]
)
def test_option_of_docker_is_accepted(mocker: Mocker, options: list[str]) -> None:
    result = mocker("run", *options, "cat", stdin="typed\n")

    assert (result.stdout, result.stderr, result.returncode) == ("typed\n", "", 0)


def test_options_after_the_command_are_the_commands(mocker: Mocker) -> None:
    result = mocker("run", "-e", "A=1", "echo", "-e", "A", "--name", "x", "--", "-v")

    assert result.stdout == "A --name x -- -v\n"


def test_two_dashes_end_the_options(mocker: Mocker) -> None:
    result = mocker("run", "--name", "web", "--", "echo", "hi")

    assert result.stdout == "hi\n"


def test_help_names_every_option_and_every_exit_status(mocker: Mocker) -> None:
    result = mocker("run", "--help")

    options = """
        --rootfs --rootfs-mode --read-only --volume --tmpfs --env --env-file --workdir --user
        --name --hostname --network --userns --ulimit --timeout --stop-signal --grace
        --interactive --tty --dry-run
    """
    words = set(re.findall(r"--[a-z-]+|\d+", result.stdout))
    assert set(options.split()) | {"2", "124", "125", "126", "127"} <= words
    assert result.returncode == 0


# Standard input, output and error


def test_stdout_is_the_callers_own_pipe(mocker: Mocker) -> None:
    with open_run("sh", "-c", "readlink /proc/$$/fd/1; cat") as process:
        assert process.stdout is not None
        callers = f"pipe:[{os.fstat(process.stdout.fileno()).st_ino}]"

        commands = read_line(process)

    assert commands == callers


def test_stdin_is_the_callers_own_file(mocker: Mocker, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("one\ntwo\nthree\n")

    with file.open() as stdin:
        # The command's shell reads one line and not a byte more: the position is shared.
        subprocess.run([MOCKER, "run", "sh", "-c", "read line"], stdin=stdin, check=True)
        rest = os.read(stdin.fileno(), 100)

    assert rest == b"two\nthree\n"


def test_stderr_is_apart_from_stdout(mocker: Mocker) -> None:
    result = mocker("run", "sh", "-c", "echo out; echo err >&2")

    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_reader_sees_the_end_when_the_command_closes_stdout() -> None:
    with open_run("sh", "-c", "echo last; exec >&-; cat") as process:
        assert process.stdout is not None

        output = process.stdout.read()
        running = process.poll() is None

    assert (output, running) == ("last\n", True)


def test_writer_sees_the_end_when_the_command_closes_stdin() -> None:
    with open_run("sh", "-c", "exec <&-; echo closed; sleep 1000") as process:
        read_line(process)
        assert process.stdin is not None
        poll = select.poll()
        poll.register(process.stdin, 0)

        # Without a reader it is an error at once; mocker lets go just after the start.
        told = poll.poll(PATIENCE * 1000)

    assert [events for _, events in told] == [select.POLLERR]


@pytest.mark.parametrize(
    "user", [None, pytest.param("nobody", marks=requires_subordinate_ids)]
)  # fmt: skip
@pytest.mark.parametrize("userns", ["private", pytest.param("host", marks=requires_root)])
def test_pipes_can_be_opened_by_their_names_in_dev(
    mocker: Mocker, user: str | None, userns: str
) -> None:
    options = ["--userns", userns] + (["--user", user] if user else [])
    script = "cat /dev/stdin >/dev/stdout; echo err >/dev/stderr; echo three >/proc/self/fd/1"

    result = mocker("run", *options, "sh", "-c", script, stdin="typed\n")

    assert (result.stdout, result.stderr) == ("typed\nthree\n", "err\n")


@pytest.mark.parametrize("rootfs_option", [[], ["--rootfs", "host"]])
def test_no_other_descriptor_reaches_the_command(tmp_path: Path, rootfs_option: list[str]) -> None:
    leaked = [os.open(tmp_path, os.O_RDONLY), *os.pipe()]
    leaked.append(os.dup2(leaked[0], 200))

    result = subprocess.run(
        [MOCKER, "run", *rootfs_option, "sh", "-c", "ls /proc/$$/fd; :"],
        pass_fds=leaked,
        capture_output=True,
        text=True,
        check=False,
    )
    for fd in leaked:
        os.close(fd)

    assert (result.stdout.split(), result.stderr) == (["0", "1", "2"], "")


@requires_root
def test_no_other_descriptor_reaches_the_init() -> None:
    # Only root may look: the init can't be looked into by its own user.
    read_end, write_end = os.pipe()
    leaked = f"pipe:[{os.fstat(read_end).st_ino}]"

    with subprocess.Popen(
        [MOCKER, "run", "sh", "-c", "echo ready; exec cat"],
        pass_fds=[read_end, write_end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        init = find_descendants(process.pid)[0]
        descriptors = Path(f"/proc/{init}/fd")
        closed = wait_until(lambda: len(list(descriptors.iterdir())) == 1)
        held = [str(path.readlink()) for path in descriptors.iterdir()]
        process.kill()
    os.close(read_end)
    os.close(write_end)

    assert (closed, leaked in held) == (True, False)


# --dry-run


@pytest.mark.parametrize("options", [[], ["--rootfs", "host"], ["--rootfs", "/"]])
def test_plan_has_a_step_a_line(mocker: Mocker, options: list[str]) -> None:
    result = mocker("run", "--dry-run", *options, "--name", "web", "echo", "a b")

    lines = result.stdout.splitlines()
    assert (result.stderr, result.returncode) == ("", 0)
    assert lines[0].startswith("create namespaces: ")
    assert lines[-1] == "execute 'echo' 'a b'"
    assert {"set the host name to web", "mount proc on /proc"} <= set(lines)
    assert all(re.fullmatch(r"\S.*\S", line) for line in lines)


def test_plan_has_what_was_asked_for(mocker: Mocker, volume: Path) -> None:
    options = [
        *("-v", f"{volume}:/data:ro", "--tmpfs", "/fresh", "--ulimit", "nofile=100:200"),
        *("-u", "nobody", "-w", "/made", "--read-only", "--network", "host"),
    ]

    result = mocker("run", "--dry-run", *options, "true")

    lines = set(result.stdout.splitlines())
    assert {
        f"bind {volume} read-only on /data",
        "mount tmpfs on /fresh",
        "set the limit nofile to 100:200",
        "become user nobody in /made",
        "forbid writing to /",
    } <= lines
    assert not any("bring lo up" in line for line in lines)


def test_plan_touches_nothing(mocker: Mocker, rootfs: Path, volume: Path) -> None:
    before = list_tree(rootfs.parent)
    options = ["--rootfs", str(rootfs), "--rootfs-mode", "rw", "-v", f"{volume}:/made/for/this"]

    result = mocker("run", "--dry-run", *options, "rm", "-r", "/old", "/made/for/this/old")

    assert (result.stderr, result.returncode) == ("", 0)
    assert list_tree(rootfs.parent) == before


@requires_commands("unshare")
def test_plan_needs_no_rights() -> None:
    script = 'echo 0 >/proc/sys/user/max_user_namespaces && "$0" run --dry-run true'

    result = run_in(PRIVATE_LIMITS, script)

    assert (result.stderr, result.returncode) == ("", 0)


def test_plan_for_a_missing_source_is_an_error(mocker: Mocker, tmp_path: Path) -> None:
    result = mocker("run", "--dry-run", "-v", f"{tmp_path}/missing:/data", "true")

    assert (result.stdout, result.returncode) == ("", 125)
    assert result.stderr.endswith(f"{tmp_path}/missing: No such file or directory (ENOENT)\n")


# mocker check-host


def test_host_that_can_run_containers_is_well(mocker: Mocker) -> None:
    result = mocker("check-host")

    names = ["mount", "pid", "uts", "ipc", "cgroup", "user", "network"]
    wanted = [f"{name} namespace" for name in names]
    wanted += ["subordinate IDs", "overlay in a user namespace", "cgroup v2 delegation"]
    wanted += ["seccomp", "busybox"]
    words = {name: line.split()[0] for name in wanted for line in find_lines(result.stdout, name)}
    assert list(words) == wanted
    assert {words[f"{name} namespace"] for name in names} == {"ok"}
    assert words["busybox"] == "ok"
    assert (result.stderr, result.returncode) == ("", 0)


def find_lines(text: str, name: str) -> list[str]:
    """Return the lines about one thing, which comes after a word that says how it is."""
    return [line for line in text.splitlines() if line.split(maxsplit=1)[1].startswith(name)]


@requires_commands("unshare")
def test_host_that_can_not_run_containers_says_which_switch_to_turn() -> None:
    script = """
        echo 0 >/proc/sys/user/max_user_namespaces
        "$0" check-host; echo $?; exec "$0" run true
    """

    result = run_in(PRIVATE_LIMITS, script)

    *lines, status = result.stdout.splitlines()
    refusals = [line for line in lines if line.startswith("MISSING")]
    switch = "turn on with sysctl user.max_user_namespaces"
    assert (len(refusals), status, result.returncode) == (10, "1", 125)
    assert [line for line in refusals if not line.endswith(switch)] == []
    assert find_lines("\n".join(lines), "overlay")[0].endswith(switch)
    assert result.stderr.endswith(f"{switch}\n")


@requires_commands("unshare")
@pytest.mark.parametrize(
    ("limit", "row", "more"),
    [
        ("mnt", "mount namespace", ["bounded writing", "kernel files"]),
        ("pid", "pid namespace", ["kernel files"]),
        ("uts", "uts namespace", []),
        ("ipc", "ipc namespace", []),
        ("net", "network namespace", []),
        ("cgroup", "cgroup namespace", []),
    ],
)
def test_refusal_of_each_namespace_is_told_apart(limit: str, row: str, more: list[str]) -> None:
    script = f'echo 0 >/proc/sys/user/max_{limit}_namespaces && "$0" check-host'

    result = run_in(PRIVATE_LIMITS, script)

    missing = [line for line in result.stdout.splitlines() if line.startswith("MISSING")]
    rows = [line.removeprefix("MISSING").split("  ")[0].strip() for line in missing]
    assert rows == [row, *more, "a container"]
    assert all("sysctl user.max_" in line for line in missing)
    assert result.returncode == 1


@requires_private_mounts
def test_host_without_busybox_is_well_enough() -> None:
    result = run_in(PRIVATE_MOUNTS, f'{HIDE_BUSYBOX} "$0" check-host')

    assert result.returncode == 0
    assert re.fullmatch(
        r"absent +busybox +no fresh roots: cannot find a static busybox; install busybox-static .*",
        find_lines(result.stdout, "busybox")[0],
    )


@requires_user
@requires_commands("setpriv")
def test_user_who_can_gain_nothing_is_told_so_and_not_to_get_a_range() -> None:
    checked = run_in(["setpriv", "--no-new-privs"], '"$0" check-host')
    refused = run_in(["setpriv", "--no-new-privs"], '"$0" run -u nobody true')

    (line,) = find_lines(checked.stdout, "subordinate IDs")
    assert line.startswith("absent")
    assert refused.stderr.startswith("mocker run: cannot become user 65534:65534; ")
    for text in (line, refused.stderr):
        assert "no_new_privs is in force here" in text
        assert "/etc/subuid" not in text
        assert "usermod" not in text
    assert (checked.returncode, refused.returncode) == (0, 125)
