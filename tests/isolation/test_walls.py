"""What nobody inside may get at: mounts, the init, the host's programs, the caller's terminal.

Attacks, made by root inside, from a root of each kind. They look on while processes are started
beside the command, as those are forks of the init until they execute something.
"""

import fcntl
import os
import subprocess
import termios
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, Tmpfs, Volume, spawn
from mocker.isolation.devices import NODES
from mocker.isolation.syscalls import MS_NOSUID, mount
from tests.beside import run_beside, running
from tests.containers import in_container, make_rootfs, run_captured, script
from tests.in_namespaces import run_in_child
from tests.refusals import enter_private_mounts
from tests.requirements import IS_ROOT, requires_root

EACH_ROOT = ["busybox", "host", "directory", "written through"]
PYTHON = "/usr/bin/python3"
USER_NAMESPACES = ["private", pytest.param("host", marks=requires_root)]

READ_ONLY = {"/ro", "/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs"}

each_root = pytest.mark.parametrize("root", EACH_ROOT)
each_userns = pytest.mark.parametrize("userns", USER_NAMESPACES)


def root_fields(root: str, directory: Path) -> dict[str, object]:
    """Return the fields of a spec for a kind of root."""
    if root in {"busybox", "host"}:
        return {"rootfs": root}
    mode = "rw" if root == "written through" else "overlay"
    return {"rootfs": str(make_rootfs(directory)), "rootfs_mode": mode}


def list_mounts(text: str) -> list[tuple[str, str, set[str], bool]]:
    """Return (mount point, type, flags, whether it is a device) of each line of mountinfo."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        fstype = fields[fields.index("-") + 1]
        is_device = fields[3] in {f"/{name}" for name in NODES} or fstype == "devpts"
        found.append((fields[4], fstype, set(fields[5].split(",")), is_device))
    return found


@in_container
@pytest.mark.parametrize("network", ["none", "host"])
@each_userns
@each_root
def test_no_mount_has_devices_and_none_but_the_root_programs_of_other_users(
    root: str, userns: str, network: str, tmp_path: Path
) -> None:
    (tmp_path / "volume").mkdir()
    volumes = [Volume(str(tmp_path / "volume"), "/volume"), Volume("/usr", "/ro", read_only=True)]
    fields = root_fields(root, tmp_path) | {"userns": userns, "network": network}

    outcome = run_captured(
        script("cat /proc/self/mountinfo", volumes=volumes, tmpfs=[Tmpfs("/fresh/deep")], **fields)
    )

    mounts = list_mounts(outcome.stdout)
    points = {point for point, *_ in mounts}
    assert {"/", "/proc", "/sys", "/dev/pts", "/volume", "/ro", "/fresh/deep"} <= points
    for point, fstype, flags, is_device in mounts:
        assert "nodev" in flags or is_device, point
        assert "nosuid" in flags or point == "/" or fstype == "overlay", point
        assert "ro" in flags or (point not in READ_ONLY and not point.startswith("/sys")), point


@in_container
@each_root
def test_read_only_volume_is_so_with_all_that_is_mounted_below_it(
    root: str, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    (volume / "below/deep").mkdir(parents=True)
    fields = root_fields(root, tmp_path) | {"cap_add": ["all"], "seccomp": "unconfined"}
    text = """\
    for place in /data /data/below /data/below/deep; do
        touch $place/new && echo wrote to $place
        mount -o remount,bind,rw $place && echo $place is writable
        umount $place && echo $place is taken off
    done
    """

    def act() -> tuple[str, list[str]]:
        enter_private_mounts()
        mount("none", str(volume / "below"), "tmpfs")
        (volume / "below/deep").mkdir()
        mount("none", str(volume / "below/deep"), "tmpfs")
        volumes = [Volume(str(volume), "/data", read_only=True)]
        outcome = run_captured(script(text, volumes=volumes, **fields))
        return outcome.stdout, [path.name for path in volume.rglob("new")]

    assert run_in_child(act) == ("", [])


@in_container
@each_userns
@pytest.mark.parametrize("own", [0, MS_NOSUID], ids=["plain", "nosuid"])
def test_mounts_below_a_root_that_is_written_through_have_no_programs_of_other_users(
    own: int, userns: str, tmp_path: Path
) -> None:
    def act() -> dict[str, bool]:
        enter_private_mounts()
        mount("none", str(tmp_path), "tmpfs", own)
        root = make_rootfs(tmp_path)
        for path in (root / "below", root / "below/deep"):
            path.mkdir()
            mount("none", str(path), "tmpfs")
        spec = script("cat /proc/self/mountinfo", rootfs=str(root), rootfs_mode="rw", userns=userns)
        mounts = list_mounts(run_captured(spec).stdout)
        return {point: "nosuid" in flags for point, _, flags, _ in mounts}

    found = run_in_child(act)

    assert (found["/"], found["/below"], found["/below/deep"]) == (own == MS_NOSUID, True, True)


@in_container
def test_init_is_not_dumpable_so_that_its_files_in_proc_are_no_ones_inside() -> None:
    with running() as container:
        command = Path(f"/proc/{container.pid}/task/{container.pid}/children").read_text().strip()
        owners = [Path(f"/proc/{pid}/environ").stat().st_uid for pid in (container.pid, command)]

    assert owners[0] == 0  # the host's root, who is not root inside
    assert owners[1] != 0


# Looks at every fork of the init again and again, until its stdin ends, and says how many it has
# met, and what it could read of one that was not yet executing "true".
LOOK_ON = """
import os
os.set_blocking(0, False)
FILES = "environ", "maps", "auxv", "stack", "syscall", "cmdline"
LINKS = "cwd", "root", "exe", "ns/mnt", "ns/user"
got, met = set(), set()

def read(path):
    with open(path, "rb") as file:
        return file.read()

def is_init(pid):
    return read(f"/proc/{pid}/comm") == b"mocker-init\\n"

def look(pid):
    if not is_init(pid):
        return
    met.add(pid)
    for name in FILES:
        yield name, lambda: read(f"/proc/{pid}/{name}").strip(b"\\0") not in (b"", b"mocker-init")
    for name in LINKS:
        yield name, lambda: os.readlink(f"/proc/{pid}/{name}")
    for name in ("fd", "map_files"):
        top = f"/proc/{pid}/{name}"
        yield name, lambda: any(os.readlink(f"{top}/{entry}") for entry in os.listdir(top))
    yield "mem", lambda: not os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))

def executes(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe").endswith("/true")
    except OSError:
        return False

def look_at(pid):
    try:
        for name, succeeds in look(pid):
            try:
                if succeeds() and not executes(pid) and is_init(pid):
                    got.add(name)
            except OSError:
                pass
    except OSError:
        pass

print("ready", flush=True)
while True:
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        look_at(pid)
    try:
        if not os.read(0, 1):
            break
    except BlockingIOError:
        pass
print(len(met), *sorted(got))
"""


@in_container
@each_userns
def test_nobody_looks_into_the_init_or_into_a_process_before_it_executes(userns: str) -> None:
    read_end, write_end = os.pipe()
    out_read, out_write = os.pipe()
    spec = ContainerSpec([PYTHON, "-ISc", LOOK_ON], rootfs="host", userns=userns)

    with (
        os.fdopen(out_read) as output,
        spawn(spec, stdin=read_end, stdout=out_write, stderr=out_write) as container,
    ):
        os.close(read_end)
        os.close(out_write)
        assert output.readline() == "ready\n"
        for _ in range(40):
            with container.start_process(["true"]) as process:
                process.wait()
        os.close(write_end)
        met, *got = output.read().split()

    assert got == []
    assert int(met) > 1  # the init, and forks of it


TYPE = """
import errno, fcntl, termios
try:
    fcntl.ioctl(0, termios.TIOCSTI, b"x")
except OSError as error:
    print(errno.errorcode[error.errno])
else:
    print("typed")
"""
# Since Linux 6.2, whether who is not the host's root may do that at all.
TYPING = Path("/proc/sys/dev/tty/legacy_tiocsti")


@in_container
def test_nobody_types_into_the_terminal_that_the_caller_has_as_its_own() -> None:
    argv = [PYTHON, "-ISc", TYPE]
    # The filter would answer first.
    command, beside = (
        ContainerSpec(words, rootfs="host", seccomp="unconfined")
        for words in (argv, ["sleep", "1000"])
    )

    def act() -> list[str]:
        terminal = take_terminal()
        callers = subprocess.run(argv, stdin=terminal, capture_output=True, text=True, check=True)
        output = os.memfd_create("output")
        with spawn(command, stdin=terminal, stdout=output, stderr=output) as container:
            container.wait()
        with running(beside) as container:
            os.dup2(terminal, 0)
            text = run_beside(container, argv).text
        return [callers.stdout, os.pread(output, 100, 0).decode(), text]

    by_caller, *inside = run_in_child(act)

    may_type = not TYPING.exists() or TYPING.read_text() == "1\n"
    assert by_caller == ("typed\n" if may_type or IS_ROOT else "EIO\n")
    assert inside == ["EPERM\n" if may_type else "EIO\n"] * 2


def take_terminal() -> int:
    """Lead a session on a terminal, and return that; called in a fork of the test's."""
    _, terminal = os.openpty()
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    return terminal
