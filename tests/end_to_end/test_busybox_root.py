"""A command in a jail of its own, with busybox in it."""

import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Mocker
from tests.end_to_end.processes import (
    MOCKER,
    PATIENCE,
    find_descendants,
    open_run,
    read_line,
    read_uid,
    watch,
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
from tests.strangers import readable_by_everybody, run_outside

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

each_userns = pytest.mark.parametrize(
    "userns", ["private", pytest.param("host", marks=requires_root)]
)

# A mount namespace in which mounts can be changed without anybody else noticing.
PRIVATE_MOUNTS = ["unshare", "--mount"]
if not IS_ROOT:
    PRIVATE_MOUNTS += ["--user", "--map-root-user"]


# 1. The command, and nothing else.


def test_echo_prints_its_words_and_nothing_else(mocker: Mocker) -> None:
    result = mocker("run", "echo", "hello world!")

    assert (result.stdout, result.stderr, result.returncode) == ("hello world!\n", "", 0)


def test_sh_is_a_shell(mocker: Mocker) -> None:
    result = mocker("run", "sh", stdin="x=6\necho $((x * 7)) | tr 2 3\nexit 5\n")

    assert (result.stdout, result.stderr, result.returncode) == ("43\n", "", 5)


# 2. Namespaces.


@pytest.mark.parametrize("kind", ["uts", "mnt", "pid", "ipc", "net", "cgroup", "user"])
def test_namespace_is_a_new_one(mocker: Mocker, kind: str) -> None:
    result = mocker("run", "readlink", f"/proc/self/ns/{kind}")

    assert re.fullmatch(rf"{kind}:\[\d+\]\n", result.stdout)
    assert result.stdout.strip() != str(Path(f"/proc/self/ns/{kind}").readlink())


def test_two_containers_share_no_namespace(mocker: Mocker) -> None:
    script = "for namespace in /proc/self/ns/*; do readlink $namespace; done"

    with open_run("sh", "-c", f"{script}; echo; cat") as first:
        namespaces = set(iter(lambda: read_line(first), ""))
        result = mocker("run", "sh", "-c", script)

    # Nobody asked for a time namespace, so that one is everybody's.
    shared = {name for name in namespaces & set(result.stdout.split()) if "time" not in name}
    assert len(namespaces) > 7
    assert shared == set()


def test_host_name_is_set_and_differs_from_the_hosts(mocker: Mocker) -> None:
    name = f"not-{socket.gethostname()}"[:64]

    result = mocker("run", "--hostname", name, "sh", "-c", "hostname; uname -n; cat /etc/hostname")

    assert result.stdout.split() == [name] * 3


# 3. The temporary root.


def test_bin_has_busybox_and_its_applets_by_name(mocker: Mocker) -> None:
    listing = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True)
    applets = {name for name in listing.stdout.split() if "/" not in name}

    result = mocker("run", "ls", "/bin")

    assert set(result.stdout.split()) == applets | {"busybox"}


def test_busybox_is_the_hosts_own(mocker: Mocker) -> None:
    busybox = shutil.which("busybox")
    assert busybox is not None

    result = mocker("run", "sha256sum", "/bin/busybox")

    host = subprocess.run(["sha256sum", busybox], capture_output=True, text=True, check=True)
    assert result.stdout.split()[0] == host.stdout.split()[0]


@pytest.mark.parametrize(
    ("test", "paths"),
    [
        ("-d", "/bin /dev /dev/fd /dev/pts /dev/shm /etc /proc /root /sys /tmp"),
        ("-c", "/dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/ptmx"),
        ("-L", "/dev/fd /dev/stdin /dev/stdout /dev/stderr"),
        ("-f", "/etc/passwd /etc/group /etc/hosts /etc/hostname /etc/resolv.conf"),
    ],
)
def test_root_has_what_programs_expect(mocker: Mocker, test: str, paths: str) -> None:
    script = f"for path in {paths}; do [ {test} $path ] || echo $path; done; echo looked"

    result = mocker("run", "sh", "-c", script)

    assert (result.stdout, result.stderr) == ("looked\n", "")


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("echo gone >/dev/null; cat /dev/null | wc -c", "0"),
        ("head -c 3 /dev/zero | od -An -tx1", "00 00 00"),
        ("echo x 2>&1 >/dev/full | grep -o 'No space left on device'", "No space left on device"),
        ("head -c 1000 /dev/random | wc -c", "1000"),
        ("head -c 1000 /dev/urandom | wc -c", "1000"),
        ("sh -c 'exec 3</dev/tty' 2>&1 | grep -o 'No such device or address'",
         "No such device or address"),
        ("exec 3<>/dev/ptmx; [ -c /dev/pts/0 ] && echo opened", "opened"),
        ("echo shared >/dev/shm/x; cat /dev/shm/x", "shared"),
        ("echo written >/dev/fd/1", "written"),
        ("echo written >/dev/stdout", "written"),
        ("echo written 2>&1 >/dev/stderr", "written"),
        ("echo read | cat /dev/stdin", "read"),
    ],
)  # fmt: skip
def test_device_does_what_it_is_for(mocker: Mocker, script: str, answer: str) -> None:
    result = mocker("run", "sh", "-c", f"exec 2>&1; {script}")

    assert result.stdout.strip() == answer


# Waits until a server of its own is reached by the name that is put in.
CONNECT = "nc -l -p 80 </dev/null & until nc {} 80 </dev/null 2>/dev/null; do usleep 9999; done"


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("id -un; id -gn", "root\nroot"),
        ("grep ^nobody: /etc/passwd | cut -d: -f3", "65534"),
        ("cat /etc/hostname", "web"),
        (CONNECT.format("localhost") + "; echo reached", "reached"),
        (CONNECT.format("web") + "; echo reached", "reached"),
        ("cat /etc/resolv.conf | wc -c", "0"),
    ],
)
def test_file_of_etc_says_what_is_true(mocker: Mocker, script: str, answer: str) -> None:
    result = mocker("run", "--hostname", "web", "sh", "-c", script)

    assert (result.stdout.strip(), result.stderr) == (answer, "")


@pytest.mark.parametrize(
    "directory", ["/", "/bin", "/dev/shm", "/etc", "/home", "/root", "/run", "/tmp", "/var/tmp"]
)
def test_root_may_write_to(mocker: Mocker, directory: str) -> None:
    result = mocker("run", "sh", "-c", f"echo written >{directory}/new && cat {directory}/new")

    assert (result.stdout, result.stderr) == ("written\n", "")


@pytest.mark.parametrize("directory", ["/tmp", "/var/tmp", "/dev/shm"])
def test_everybody_may_write_to(mocker: Mocker, directory: str) -> None:
    result = mocker("run", "stat", "-c", "%a", directory)

    assert result.stdout == "1777\n"


def test_sys_is_read_only(mocker: Mocker) -> None:
    result = mocker("run", "mkdir", "/sys/new")

    assert result.stderr.endswith(": Read-only file system\n")


def test_what_a_command_writes_is_not_on_the_host_while_it_runs(tmp_path: Path) -> None:
    name = f"written-by-{tmp_path.name}"
    mounts = Path("/proc/self/mountinfo").read_text()

    with open_run("sh", "-c", f"touch /tmp/{name} /{name} && echo ready; cat") as process:
        started = read_line(process)
        found = [path for path in ("/tmp", "/") if Path(path, name).exists()]
        mounts_meanwhile = Path("/proc/self/mountinfo").read_text()

    assert (started, found) == ("ready", [])
    assert mounts_meanwhile == mounts


@requires_commands("unshare", "mount")
def test_host_needs_no_writable_directory() -> None:
    # Where nothing of the host can be written, nothing can be left behind in its /tmp.
    script = """
        for place in / /tmp /var/tmp /run /dev/shm; do
            ! mountpoint -q $place || mount -o remount,bind,ro $place || exit
            ! touch $place/x 2>/dev/null || exit
        done
        exec "$0" run sh -c 'echo made > /tmp/x && cat /tmp/x'
    """

    result = subprocess.run(
        [*PRIVATE_MOUNTS, "sh", "-c", script, MOCKER], capture_output=True, text=True, check=False
    )

    assert (result.stdout, result.stderr, result.returncode) == ("made\n", "", 0)


def test_nothing_is_left_when_mocker_is_killed(tmp_path: Path) -> None:
    name = f"written-by-{tmp_path.name}"
    mounts = Path("/proc/self/mountinfo").read_text()
    script = f"touch /tmp/{name}; setsid sleep 1000 & echo ready; exec cat"

    with open_run("sh", "-c", script) as process:
        started = read_line(process)
        processes = find_descendants(process.pid)
        with watch(processes) as wait_ended:
            process.send_signal(signal.SIGKILL)
            survivors = wait_ended()

    assert (started, len(processes), survivors) == ("ready", 3, [])
    assert not Path("/tmp", name).exists()
    assert Path("/proc/self/mountinfo").read_text() == mounts


@requires_commands("unshare", "mount")
def test_tmp_of_the_host_stays_empty_when_mocker_is_killed() -> None:
    # What mocker is made of may itself be below /tmp, and is put back there.
    script = """
        exec 3<"$1" 4<"$2"
        mount -t tmpfs none /tmp || exit
        [ -e "$1" ] || { mkdir -p "$1" && mount -c --bind /proc/self/fd/3 "$1" || exit; }
        [ -e "$2" ] || { mkdir -p "$2" && mount -c --bind /proc/self/fd/4 "$2" || exit; }
        before=$(ls -A /tmp)
        "$0" run sh -c 'touch /tmp/made; ls /tmp; exec sleep 1000' &
        read -r _; [ "$(ls -A /tmp)" = "$before" ]; echo $?
        kill -KILL $!; wait $!; echo $?
        [ "$(ls -A /tmp)" = "$before" ]; echo $?
    """
    checkout = Path(__file__).parents[2]
    argv = [*PRIVATE_MOUNTS, "sh", "-c", script, str(MOCKER), str(checkout), sys.prefix]

    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        inside = read_line(process)
        outside, _ = process.communicate("go\n", timeout=PATIENCE)

    assert (inside, outside) == ("made", "0\n137\n0\n")


# 4. A jail.


def test_root_has_nothing_but_its_own_directories(mocker: Mocker) -> None:
    result = mocker("run", "ls", "/")

    expected = "bin dev etc home proc root run sbin sys tmp usr var"
    assert result.stdout.split() == expected.split()


def test_nothing_of_the_host_is_mounted_but_busybox_and_devices(mocker: Mocker) -> None:
    script = "while read -r _ _ device root point _; do echo $device $root $point; done"

    result = mocker("run", "sh", "-c", f"{script} </proc/self/mountinfo")

    hosts = {line.split()[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    mounts = [line.split() for line in result.stdout.splitlines()]
    # What is hidden has the host's /dev/null over it.
    shared = {point for device, root, point in mounts if device in hosts and root != "/null"}
    nodes = {f"/dev/{name}" for name in ("zero", "full", "random", "urandom", "tty")}
    assert "/proc" in {point for _, _, point in mounts}
    assert shared <= nodes | {"/bin/busybox"}


# Outside of a jail these lead there for anybody, and the others for who has the rights.
WAYS_OF_ANYBODY = [
    'cat "$0"',
    'cat "/../../../..$0"',
    'cd -P /proc/self/cwd/../.. && cat "./$0"',
]
WAYS_OUT = [
    *WAYS_OF_ANYBODY,
    'cat "/proc/1/root$0"',
    'cat "/proc/1/cwd$0"',
    'for root in /proc/[0-9]*/root; do cat "$root$0"; done',
    'for fd in /proc/[0-9]*/fd/*; do cat "$fd/$0"; done </dev/null',
    'chroot /proc/1/root cat "$0"',
    'nsenter -t 1 -m cat "$0"',
    'nsenter -t 1 -a cat "$0"',
    'umount -l /; cat "$0"',
    'umount -l /bin/busybox; cat "$0"',
    'mkdir /old; pivot_root / /old; cat "/old$0"',
    'mkdir /jail; cp -r /bin /jail; mount -t proc none /jail/proc; '
    'chroot /jail cat "/../..$0"',
    'unshare -m sh -c "umount -l /; cat $0"',
    'unshare -U -r -m sh -c "umount -l /; cat $0"',
]  # fmt: skip


@pytest.mark.parametrize("way_out", WAYS_OUT)
def test_no_way_leads_out(mocker: Mocker, way_out: str) -> None:
    with readable_by_everybody("of the host") as secret:
        result = mocker("run", "sh", "-c", f"echo inside; {way_out}", str(secret))

    assert result.stdout == "inside\n"
    assert result.stderr != ""


@pytest.mark.parametrize("way", WAYS_OF_ANYBODY)
def test_way_leads_there_without_a_jail(way: str) -> None:
    with readable_by_everybody("of the host") as secret:
        result = run_outside(way, str(secret))

    assert (result.stdout, result.stderr) == ("of the host", "")


def test_device_of_the_hosts_disk_can_not_be_made(mocker: Mocker) -> None:
    device = Path("/").stat().st_dev
    node = f"/tmp/disk b {os.major(device)} {os.minor(device)}"

    result = mocker("run", "sh", "-c", f"mknod {node}; head -c 1 /tmp/disk")

    assert result.returncode != 0
    assert "mknod: /tmp/disk: Operation not permitted" in result.stderr


# 5. Processes.


def test_proc_shows_the_processes_of_the_container_only(mocker: Mocker) -> None:
    result = mocker("run", "sh", "-c", "cd /proc; echo [0-9]*; echo $$")

    assert result.stdout.splitlines() == ["1 2", "2"]


def test_command_sees_an_init_with_pid_1_above_it(mocker: Mocker) -> None:
    result = mocker("run", "sh", "-c", "echo $PPID; cat /proc/$PPID/comm")

    assert result.stdout.splitlines() == ["1", "mocker-init"]


def test_ps_shows_the_init_and_the_command(mocker: Mocker) -> None:
    result = mocker("run", "ps", "-o", "pid,comm")

    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        ["1", "mocker-init"],
        ["2", "ps"],
    ]


@each_userns
@pytest.mark.parametrize(
    "name",
    ["auxv", "cwd/x", "environ", "exe", "fd/*", "io", "maps", "mem", "ns/mnt", "root/x", "stack"],
)
def test_init_can_not_be_looked_into(mocker: Mocker, userns: str, name: str) -> None:
    result = mocker("run", "--userns", userns, "sh", "-c", f"touch /x; cat /proc/1/{name}")

    assert result.stdout == ""
    assert result.stderr.endswith((": Permission denied\n", ": Operation not permitted\n"))


@each_userns
def test_command_line_of_the_init_says_nothing_of_the_host(
    mocker: Mocker, tmp_path: Path, userns: str
) -> None:
    options = ["--userns", userns, "-v", f"{tmp_path}:/data", "-e", "TOKEN=secret"]

    result = mocker("run", *options, "cat", "/proc/1/cmdline")

    assert result.stdout.strip("\0") == "mocker-init"


@each_userns
def test_environment_of_no_process_has_anything_of_the_hosts(mocker: Mocker, userns: str) -> None:
    script = "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    env = {**os.environ, "TOKEN": "secret"}

    result = mocker("run", "--userns", userns, "sh", "-c", script, env=env)

    assert "HOSTNAME=containerhostname" in result.stdout
    assert "TOKEN" not in result.stdout


def test_command_is_in_the_session_of_the_init(mocker: Mocker) -> None:
    # In the caller's, it could type into the caller's terminal.
    result = mocker("run", "cut", "-d", " ", "-f", "6", "/proc/self/stat")

    assert result.stdout == "1\n"


def test_no_process_of_the_host_can_be_signalled(mocker: Mocker) -> None:
    result = mocker("run", "kill", "-0", str(os.getpid()))

    assert result.stderr.endswith("No such process\n")


# 6. The search for the command.


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory to be mounted on /tools, with three commands in it."""
    for name, text, mode in (
        ("plain", "#!/bin/sh\necho plain $0 $1\n", 0o755),
        ("headless", "echo headless $1\n", 0o755),
        ("denied", "#!/bin/sh\necho denied\n", 0o644),
    ):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
    tmp_path.chmod(0o755)
    return tmp_path


def test_command_is_found_by_the_containers_path(mocker: Mocker, tools: Path) -> None:
    result = mocker("run", "-v", f"{tools}:/tools", "-e", "PATH=/none:/tools:/bin", "plain", "a b")

    assert result.stdout == "plain /tools/plain a b\n"


def test_command_is_not_found_by_the_callers_path(mocker: Mocker, tools: Path) -> None:
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}

    result = mocker("run", "-v", f"{tools}:{tools}", "plain", env=env)

    assert (result.stdout, result.returncode) == ("", 127)


def test_command_that_may_not_be_executed_is_passed_over(mocker: Mocker, tools: Path) -> None:
    (tools / "echo").write_text("not a program")

    result = mocker("run", "-v", f"{tools}:/tools", "-e", "PATH=/tools:/bin", "echo", "found")

    assert result.stdout == "found\n"


def test_script_without_interpreter_line_is_given_to_sh(mocker: Mocker, tools: Path) -> None:
    result = mocker("run", "-v", f"{tools}:/tools", "/tools/headless", "x")

    assert result.stdout == "headless x\n"


def test_command_with_a_slash_is_not_searched_for(mocker: Mocker, tools: Path) -> None:
    volume = f"{tools}:/tools/below"

    result = mocker("run", "-v", volume, "-w", "/tools", "-e", "PATH=/bin", "below/plain", "x")
    missed = mocker("run", "-v", volume, "-e", "PATH=/tools:/bin", "below/plain", "x")

    assert result.stdout == "plain below/plain x\n"
    assert missed.returncode == 127


def test_arguments_arrive_as_they_are(mocker: Mocker) -> None:
    words = ["", " ", "a\nb", "*", "$HOME", "--name", "-v", "é", "'\""]

    result = mocker("run", "sh", "-c", "printf '<%s>' \"$@\"", "sh", *words)

    assert result.stdout == "".join(f"<{word}>" for word in words)


# 7. Without root, and with it.


def test_user_is_root_inside(mocker: Mocker) -> None:
    result = mocker("run", "sh", "-c", "id -u; id -g; whoami")

    assert result.stdout.split() == ["0", "0", "root"]


@requires_user
def test_root_inside_is_the_caller_outside() -> None:
    with open_run("sh", "-c", "echo ready; cat") as process:
        read_line(process)
        owners = {read_uid(pid) for pid in find_descendants(process.pid)[1:]}

    assert owners == {os.getuid()}


@requires_user
def test_file_of_root_inside_is_the_callers_outside(mocker: Mocker, tmp_path: Path) -> None:
    mocker("run", "-v", f"{tmp_path}:/data", "touch", "/data/new")

    made = (tmp_path / "new").stat()
    assert (made.st_uid, made.st_gid) == (os.getuid(), os.getgid())


@requires_subordinate_ids
def test_whole_range_is_mapped(mocker: Mocker) -> None:
    result = mocker("run", "cat", "/proc/1/uid_map", "/proc/1/gid_map")

    counts = [int(line.split()[2]) for line in result.stdout.splitlines()]
    assert sum(counts) >= 2 * 65536


@requires_subordinate_ids
def test_chown_works(mocker: Mocker) -> None:
    script = "touch x; chown daemon:nogroup x; stat -c %u:%g x; chown 1234:65534 x; ls -ln x"

    result = mocker("run", "sh", "-c", script)

    owners, listing = result.stdout.splitlines()
    assert (owners, listing.split()[2:4], result.stderr) == ("1:65534", ["1234", "65534"], "")


@requires_subordinate_ids
def test_su_works(mocker: Mocker) -> None:
    script = "id -u; id -g; touch /root/x"

    result = mocker("run", "su", "-s", "/bin/sh", "-c", script, "nobody")

    assert result.stdout.split() == ["65534", "65534"]
    assert result.stderr.endswith("/root/x: Permission denied\n")


@requires_user
@requires_commands("setpriv")
def test_without_newuidmap_the_caller_alone_is_mapped() -> None:
    # newuidmap is set-user-ID, and no_new_privs takes the effect of that away.
    wrapper = ["setpriv", "--no-new-privs"]
    script = "cat /proc/1/uid_map; id -u; touch x && stat -c %u x"

    with open_run("sh", "-c", script, wrapper=wrapper) as process:
        output, _ = process.communicate()

    assert output.split() == ["0", "0", "1", "0", "0"]


@requires_root
def test_root_inside_is_unprivileged_outside() -> None:
    with open_run("sh", "-c", "echo ready; cat") as process:
        read_line(process)
        pids = find_descendants(process.pid)
        first, *_ = Path(f"/proc/{pids[0]}/uid_map").read_text().split()[1:]
        owners = {read_uid(pid) for pid in pids[1:]}

    assert owners == {int(first)}
    assert owners.isdisjoint(range(65536))
    assert owners.isdisjoint(entry.pw_uid for entry in pwd.getpwall())


@requires_root
def test_nobody_of_the_host_has_an_id_of_the_container() -> None:
    with open_run("sh", "-c", "echo ready; cat") as process:
        read_line(process)
        init = find_descendants(process.pid)[0]
        ranges = [Path(f"/proc/{init}/{kind}_map").read_text().split() for kind in ("uid", "gid")]

    users = {entry.pw_uid for entry in pwd.getpwall()}
    for _inside, first, count in ranges:
        assert users.isdisjoint(range(int(first), int(first) + int(count)))


@requires_root
def test_userns_host_makes_root_inside_root_outside() -> None:
    with open_run("--userns", "host", "sh", "-c", "echo ready; cat") as process:
        read_line(process)
        owners = {read_uid(pid) for pid in find_descendants(process.pid)}

    assert owners == {0}


@requires_root
def test_userns_host_shares_the_hosts_user_namespace(mocker: Mocker) -> None:
    result = mocker("run", "--userns", "host", "readlink", "/proc/self/ns/user")

    assert result.stdout.strip() == str(Path("/proc/self/ns/user").readlink())


@requires_user
def test_userns_host_is_for_root_only(mocker: Mocker) -> None:
    result = mocker("run", "--userns", "host", "true")

    assert result.returncode == 125
    assert result.stderr == (
        "mocker run: cannot share the host's user namespace; only root may do that\n"
    )


@requires_root
def test_volume_shows_the_owners_that_the_host_sees(mocker: Mocker, tmp_path: Path) -> None:
    for uid in (0, 1, 1000, 65534):
        path = tmp_path / f"{uid:05}"
        path.touch()
        os.chown(path, uid, uid)

    result = mocker("run", "-v", f"{tmp_path}:/data", "sh", "-c", "stat -c %u:%g /data/*")

    assert result.stdout.split() == ["0:0", "1:1", "1000:1000", "65534:65534"]


@requires_root
def test_volume_keeps_the_owners_that_the_container_gives(mocker: Mocker, tmp_path: Path) -> None:
    script = "cd /data; touch a b c; chown 1000:100 b; chown nobody:nogroup c"

    mocker("run", "-v", f"{tmp_path}:/data", "sh", "-c", script)

    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in tmp_path.iterdir()}
    assert owners == {"a": (0, 0), "b": (1000, 100), "c": (65534, 65534)}


@requires_root
def test_root_inside_reads_what_only_root_may_read(mocker: Mocker, tmp_path: Path) -> None:
    # Through a volume only: that is what the caller gave.
    (tmp_path / "private").write_text("given\n")
    (tmp_path / "private").chmod(stat.S_IRUSR)

    result = mocker("run", "-v", f"{tmp_path}:/data", "cat", "/data/private")

    assert result.stdout == "given\n"
