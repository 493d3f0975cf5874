"""A program of the host in a container: isolated from the host, though with its files in view."""

import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mocker
from tests.end_to_end.processes import MOCKER, PATIENCE, open_run, read_line
from tests.requirements import (
    IS_ROOT,
    requires_busybox,
    requires_commands,
    requires_root,
    requires_user,
    requires_user_namespaces,
)

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces]

each_rootfs = pytest.mark.parametrize(
    "rootfs", ["host", pytest.param("busybox", marks=requires_busybox)]
)

# Where mounts can be changed without anybody else noticing.
PRIVATE_MOUNTS = ["unshare", "--mount"]
if not IS_ROOT:
    PRIVATE_MOUNTS += ["--user", "--map-root-user"]


@pytest.fixture
def home_directory() -> Iterator[Path]:
    """A directory of the caller's own that is neither in /tmp nor in /run."""
    with tempfile.TemporaryDirectory(prefix="for-a-container-", dir=Path.home()) as name:
        yield Path(name)


# 8. A program of the host.


@requires_commands("bash")
def test_program_of_the_host_runs(mocker: Mocker) -> None:
    script = "echo $BASH_VERSION"
    host = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)

    result = mocker("run", "--rootfs", "host", "/bin/bash", "-c", script)

    assert (result.stdout, result.stderr, result.returncode) == (host.stdout, "", 0)


@requires_commands("bash")
def test_bash_of_the_host_is_a_shell(mocker: Mocker) -> None:
    result = mocker("run", "--rootfs", "host", "/bin/bash", stdin="a=(1 2)\necho ${#a[@]}\nexit 4")

    assert (result.stdout, result.stderr, result.returncode) == ("2\n", "", 4)


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/os-release", "/proc/version"])
def test_system_files_of_the_host_are_in_view(mocker: Mocker, path: str) -> None:
    result = mocker("run", "--rootfs", "host", "cat", path)

    assert result.stdout == Path(path).read_text()


def test_files_of_the_caller_are_in_view(mocker: Mocker, home_directory: Path) -> None:
    (home_directory / "letter").write_text("mine\n")

    result = mocker("run", "--rootfs", "host", "cat", str(home_directory / "letter"))

    assert result.stdout == "mine\n"


def test_command_starts_in_the_callers_directory(mocker: Mocker, home_directory: Path) -> None:
    result = mocker("run", "--rootfs", "host", "pwd", cwd=home_directory)

    assert result.stdout == f"{home_directory}\n"


def test_command_starts_at_the_root_where_the_callers_directory_is_hidden(
    mocker: Mocker,
) -> None:
    with tempfile.TemporaryDirectory(prefix="hidden-", dir="/tmp") as directory:
        result = mocker("run", "--rootfs", "host", "pwd", cwd=Path(directory))

    assert (result.stdout, result.stderr) == ("/\n", "")


@pytest.mark.parametrize("directory", ["/tmp", "/var/tmp", "/run"])
def test_directory_is_fresh(mocker: Mocker, directory: str) -> None:
    script = f"ls -A {directory}; touch {directory}/new && ls -A {directory}"

    result = mocker("run", "--rootfs", "host", "sh", "-c", script)

    assert (result.stdout, result.stderr) == ("new\n", "")


@pytest.mark.parametrize("directory", ["/tmp", "/var/tmp", "/run"])
def test_file_in_a_fresh_directory_is_not_on_the_host(tmp_path: Path, directory: str) -> None:
    made = Path(directory) / f"made-by-{tmp_path.name}"

    with open_run("--rootfs", "host", "sh", "-c", f"touch {made} && echo ready; cat") as process:
        started = read_line(process)
        on_the_host = made.exists()

    assert (started, on_the_host) == ("ready", False)


@pytest.mark.parametrize(
    "deed",
    [
        "echo changed >old",
        "echo changed >>old",
        "rm old",
        "mv old other",
        "chmod 777 old",
        "touch new",
        "mkdir new",
        "ln -s old new",
        "truncate -s 0 old",
        "rm -r ../$(basename $PWD)",
    ],
)
def test_nothing_lasts_that_is_done_to_the_hosts_files(
    mocker: Mocker, home_directory: Path, deed: str
) -> None:
    old = home_directory / "old"
    old.write_text("old\n")
    old.chmod(0o600)

    mocker("run", "--rootfs", "host", "-w", str(home_directory), "sh", "-c", deed)

    assert list(home_directory.iterdir()) == [old]
    assert (old.read_text(), old.stat().st_mode & 0o777) == ("old\n", 0o600)


def test_writes_go_to_a_layer_where_the_kernel_allows_one(
    mocker: Mocker, home_directory: Path
) -> None:
    old = home_directory / "old"
    old.write_text("old\n")
    expected = {"changed\n"} if can_be_a_lower_layer(home_directory) else {"changed\n", "old\n"}

    result = mocker("run", "--rootfs", "host", "sh", "-c", f"echo changed >{old}; cat {old}")

    assert result.stdout in expected
    assert old.read_text() == "old\n"


def can_be_a_lower_layer(directory: Path) -> bool:
    """Tell whether every kernel that mocker supports can overlay the directory.

    It takes a top-level directory without mounts below, and for root, whose container sees other
    owners, a file system that can be ID-mapped. Elsewhere the host's files are read-only.
    """
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    top = Path(*directory.parts[:2])
    points = {Path(mount[4]): mount[mount.index("-") + 1] for mount in mounts}
    if any(top in point.parents for point in points):
        return False
    holder = max((point for point in points if directory.is_relative_to(point)), key=str)
    return not IS_ROOT or points[holder] in {"btrfs", "ext4", "xfs"}


@requires_commands("unshare", "mount")
def test_directory_with_mounts_below_is_read_only(tmp_path: Path) -> None:
    script = """
        mount -t tmpfs none /srv && mkdir /srv/below && echo top >/srv/file &&
        mount -t tmpfs none /srv/below && echo below >/srv/below/file &&
        exec "$0" run --rootfs host sh -c '
            cat /srv/file /srv/below/file; touch /srv/new /srv/below/new'
    """

    result = subprocess.run(
        [*PRIVATE_MOUNTS, "sh", "-c", script, MOCKER], capture_output=True, text=True, check=False
    )

    assert result.stdout == "top\nbelow\n"
    assert result.stderr.count("Read-only file system") == 2


def test_system_directory_is_not_written_to(mocker: Mocker, tmp_path: Path) -> None:
    made = [Path(directory) / f"made-by-{tmp_path.name}" for directory in ("/etc", "/usr", "/")]

    mocker("run", "--rootfs", "host", "touch", *map(str, made))

    assert [path for path in made if path.exists()] == []


@requires_user
def test_home_is_the_callers(mocker: Mocker) -> None:
    result = mocker("run", "--rootfs", "host", "sh", "-c", "echo ~; cd && pwd")

    assert result.stdout == f"{Path.home()}\n" * 2


@requires_root
def test_root_inside_owns_what_root_owns(mocker: Mocker, home_directory: Path) -> None:
    expected = {"0:0\n"} if can_be_a_lower_layer(home_directory) else {"0:0\n", "65534:65534\n"}

    result = mocker("run", "--rootfs", "host", "stat", "-c", "%u:%g", str(home_directory))

    assert result.stdout in expected


@pytest.mark.parametrize("kind", ["uts", "mnt", "pid", "ipc", "net", "cgroup", "user"])
def test_program_of_the_host_is_in_a_new_namespace(mocker: Mocker, kind: str) -> None:
    result = mocker("run", "--rootfs", "host", "readlink", f"/proc/self/ns/{kind}")

    assert re.fullmatch(rf"{kind}:\[\d+\]\n", result.stdout)
    assert result.stdout.strip() != str(Path(f"/proc/self/ns/{kind}").readlink())


# 9. The network.


@requires_commands("ip")
def test_ip_shows_lo_alone_and_up(mocker: Mocker) -> None:
    result = mocker("run", "--rootfs", "host", "ip", "a")

    assert re.findall(r"^\d+: (.*?): <(.*?)>", result.stdout, re.MULTILINE) == [
        ("lo", "LOOPBACK,UP,LOWER_UP")
    ]
    assert "inet 127.0.0.1/8" in result.stdout


@requires_busybox
def test_ip_of_busybox_shows_lo_alone_and_up(mocker: Mocker) -> None:
    result = mocker("run", "ip", "a")

    assert re.findall(r"^\d+: (.*?): <(.*?)>", result.stdout, re.MULTILINE) == [
        ("lo", "LOOPBACK,UP,LOWER_UP")
    ]
    assert "inet 127.0.0.1/8" in result.stdout


@requires_busybox
def test_loopback_connects(mocker: Mocker) -> None:
    # httpd goes into the background only when it listens.
    script = "echo reached >/tmp/page; httpd -p 80 -h /tmp; wget -qO- http://127.0.0.1/page"

    result = mocker("run", "sh", "-c", script)

    assert (result.stdout, result.stderr) == ("reached\n", "")


@each_rootfs
def test_network_host_shares_the_hosts_interfaces(mocker: Mocker, rootfs: str) -> None:
    result = mocker("run", "--rootfs", rootfs, "--network", "host", "ls", "/sys/class/net")

    interfaces = {name for _, name in socket.if_nameindex()}
    assert set(result.stdout.split()) & interfaces == interfaces


@each_rootfs
def test_network_host_is_the_hosts_namespace(mocker: Mocker, rootfs: str) -> None:
    command = ["readlink", "/proc/self/ns/net"]

    result = mocker("run", "--rootfs", rootfs, "--network", "host", *command)

    assert result.stdout.strip() == str(Path("/proc/self/ns/net").readlink())


@requires_busybox
@pytest.mark.parametrize(("network", "answer"), [("none", ""), ("host", "of the host\n")])
def test_server_of_the_host_is_reached_with_the_hosts_network_only(
    network: str, answer: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        port = str(server.getsockname()[1])
        with open_run("--network", network, "nc", "127.0.0.1", port) as process:
            if network == "host":
                connection, _ = server.accept()
                with connection:
                    connection.sendall(b"of the host\n")
            output, errors = process.communicate()

    assert output == answer
    assert bool(errors) == (network == "none")


@each_rootfs
@pytest.mark.parametrize("network", ["none", "host"])
def test_name_servers_are_the_hosts_with_its_network_only(
    mocker: Mocker, rootfs: str, network: str
) -> None:
    resolver = Path("/etc/resolv.conf")
    hosts = resolver.read_text() if resolver.exists() else ""

    result = mocker("run", "--rootfs", rootfs, "--network", network, "cat", "/etc/resolv.conf")

    assert result.stdout == (hosts if network == "host" else "")


# 10. Mounts.


@each_rootfs
def test_tmpfs_is_mounted(mocker: Mocker, rootfs: str) -> None:
    result = mocker("run", "--rootfs", rootfs, "--tmpfs", "/mytmp", "mount")

    assert re.search(
        r"^none on /mytmp type tmpfs \(rw,nosuid,nodev,relatime", result.stdout, re.MULTILINE
    )


@each_rootfs
def test_tmpfs_is_not_mounted_on_the_host(rootfs: str) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    script = "touch /mytmp/x && echo ready; cat"

    with open_run("--rootfs", rootfs, "--tmpfs", "/mytmp", "sh", "-c", script) as process:
        started = read_line(process)
        mounts_meanwhile = Path("/proc/self/mountinfo").read_text()
        on_the_host = Path("/mytmp").exists()

    assert (started, on_the_host) == ("ready", False)
    assert mounts_meanwhile == mounts


@each_rootfs
def test_mount_inside_stays_inside(rootfs: str) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    script = "mkdir /tmp/new && mount -t tmpfs none /tmp/new && touch /tmp/new/x && echo ready; cat"

    options = ["--rootfs", rootfs, "--cap-add", "sys_admin"]

    with open_run(*options, "sh", "-c", script) as process:
        started = read_line(process)
        mounts_meanwhile = Path("/proc/self/mountinfo").read_text()

    assert started == "ready"
    assert mounts_meanwhile == mounts


@each_rootfs
def test_tmpfs_that_is_mounted_inside_is_what_mount_shows(mocker: Mocker, rootfs: str) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    script = "mkdir /mytmp && mount -t tmpfs none /mytmp && mount"

    result = mocker("run", "--rootfs", rootfs, "--cap-add", "sys_admin", "sh", "-c", script)

    assert re.search(r"^none on /mytmp type tmpfs \(rw,relatime", result.stdout, re.MULTILINE)
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert not Path("/mytmp").exists()


@each_rootfs
def test_mount_without_the_capability_is_refused_and_changes_nothing(
    mocker: Mocker, rootfs: str
) -> None:
    script = """
        mkdir /mytmp; before=$(mount)
        mount -t tmpfs none /mytmp && exit 9; status=$?
        test "$(mount)" = "$before" && exit $status
    """

    result = mocker("run", "--rootfs", rootfs, "sh", "-c", script)

    assert (result.stdout, result.returncode) in {("", 1), ("", 32)}  # busybox's, util-linux's
    assert re.match(r"mount: .*permission denied", result.stderr)


# As on a host that systemd has started: mounts spread to whoever does not object.
SHARED_MOUNTS = ["unshare", "--mount", "sh", "-c", 'mount --make-rshared / && eval "$0"']


@requires_root
@requires_commands("unshare", "mount")
@pytest.mark.parametrize("userns", ["private", "host"])
@each_rootfs
def test_mounts_of_a_container_do_not_spread_to_the_host(
    tmp_path: Path, rootfs: str, userns: str
) -> None:
    options = ["--rootfs", rootfs, "--userns", userns]
    options += ["-v", f"{tmp_path}:/data", "--tmpfs", "/data/below"]
    wrapper = [*SHARED_MOUNTS, 'exec "$@"']

    with open_run(*options, "sh", "-c", "echo ready; cat", wrapper=wrapper) as process:
        started = read_line(process)
        mount_points = list_mount_points(process.pid)

    assert started == "ready"
    assert mount_points == list_mount_points("self")


def list_mount_points(process: int | str) -> list[str]:
    lines = Path(f"/proc/{process}/mountinfo").read_text().splitlines()
    return sorted(line.split()[4] for line in lines)


@requires_root
@requires_commands("nsenter", "unshare", "mount")
@pytest.mark.parametrize("userns", ["private", "host"])
@each_rootfs
def test_unmounting_on_the_host_is_not_held_up_by_a_container(
    tmp_path: Path, rootfs: str, userns: str
) -> None:
    for name in ("top/below", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "other/file").touch()
    mounts = f"mount --bind {tmp_path}/top /srv && mount --bind {tmp_path}/other /srv/below"
    wrapper = [*SHARED_MOUNTS, f'{mounts} && exec "$@"']
    options = ["--rootfs", rootfs, "--userns", userns, "-v", "/srv:/data"]
    script = "ls /data/below; read -r _; ls /data/below; echo listed"

    with open_run(*options, "sh", "-c", script, wrapper=wrapper) as process:
        before = read_line(process)
        subprocess.run(
            ["nsenter", "--target", str(process.pid), "--mount", "umount", "/srv/below"],
            check=True,
        )
        after, errors = process.communicate("go on\n")

    assert (before, after, errors) == ("file", "listed\n", "")


# 11. The host name.


@each_rootfs
@pytest.mark.parametrize(
    ("options", "name"),
    [
        ((), "containerhostname"),
        (("--hostname", "josh"), "josh"),
        (("--name", "web"), "web"),
        (("--name", "web", "--hostname", "josh"), "josh"),
    ],
)
def test_host_name_is(mocker: Mocker, rootfs: str, options: tuple[str, ...], name: str) -> None:
    result = mocker("run", "--rootfs", rootfs, *options, "sh", "-c", "uname -n; echo $HOSTNAME")

    assert result.stdout == f"{name}\n{name}\n"


@requires_commands("hostname")
@each_rootfs
def test_host_name_that_is_set_inside_changes_inside_only(rootfs: str) -> None:
    name = socket.gethostname()

    with open_run("--rootfs", rootfs, "sh", "-c", "hostname josh; hostname; cat") as process:
        inside = read_line(process)
        outside = socket.gethostname()

    assert (inside, outside) == ("josh", name)


@requires_commands("hostname")
@each_rootfs
@pytest.mark.parametrize(
    "options",
    [
        ["--cap-add", "sys_admin"],
        ["--cap-drop", "all"],
        ["--seccomp", "unconfined"],
        ["--allow-new-privs"],
        ["-u", "root"],
    ],
    ids=" ".join,
)
def test_host_name_is_roots_whatever_else_it_may_do(
    mocker: Mocker, rootfs: str, options: list[str]
) -> None:
    result = mocker("run", "--rootfs", rootfs, *options, "sh", "-c", "hostname josh; hostname")

    assert result.stdout == "josh\n"


@requires_commands("hostname")
@each_rootfs
def test_host_name_is_not_a_users_to_set(mocker: Mocker, rootfs: str) -> None:
    script = "hostname josh; echo $?; hostname"

    result = mocker("run", "--rootfs", rootfs, "-u", "1000", "sh", "-c", script)

    assert result.stdout == "1\ncontainerhostname\n"
    assert re.match("hostname: .*(not permitted|must be root)", result.stderr)


# 12. Interprocess communication.

RESOURCES = {"q": ("--queue",), "m": ("--shmem", "4096"), "s": ("--semaphore", "1")}

requires_ipc_tools = requires_commands("ipcs", "ipcmk", "ipcrm")


def list_keys(kind: str, *wrapper: str | Path) -> set[str]:
    """Return the keys that ipcs shows for a kind of resource: queues, memory or semaphores."""
    command = [*wrapper, "ipcs", f"-{kind}"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "key" in listing
    return {line.split()[0] for line in listing.splitlines() if line.startswith("0x")}


@pytest.fixture(params=RESOURCES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def hosts_key(kind: str) -> Iterator[str]:
    """The key of a resource that the host has."""
    command = ["ipcmk", *RESOURCES[kind]]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    identifier = made.stdout.split()[-1]
    listing = subprocess.run(["ipcs", f"-{kind}"], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listing.stdout.splitlines() if line.startswith("0x")]
    yield next(row[0] for row in rows if row[1] == identifier)
    subprocess.run(["ipcrm", f"-{kind}", identifier], check=True)


@requires_ipc_tools
def test_what_the_host_has_is_not_seen_inside(kind: str, hosts_key: str) -> None:
    outside = list_keys(kind)

    inside = list_keys(kind, MOCKER, "run", "--rootfs", "host")

    assert hosts_key in outside
    assert inside == set()


@requires_ipc_tools
def test_what_is_made_inside_is_not_seen_outside(kind: str) -> None:
    script = f"ipcmk {' '.join(RESOURCES[kind])} >/dev/null; ipcs -{kind} | grep ^0x; cat"

    with open_run("--rootfs", "host", "sh", "-c", script) as process:
        key = read_line(process).split()[0]
        outside = list_keys(kind)

    assert key.startswith("0x")
    assert key not in outside


def test_message_queue_of_posix_is_not_seen_outside(mocker: Mocker) -> None:
    queue = "/dev/mqueue/made-inside"

    with open_run("--rootfs", "host", "sh", "-c", f"touch {queue} && echo ready; cat") as process:
        started = read_line(process)
        result = mocker("run", "--rootfs", "host", "ls", "/dev/mqueue")

    assert started == "ready"
    assert (result.stdout, Path(queue).exists()) == ("", False)
