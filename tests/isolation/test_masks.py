import os
from errno import EEXIST
from pathlib import Path

import pytest

from mocker.isolation.errors import SetupError
from mocker.isolation.masks import (
    HIDDEN_FILES,
    READ_ONLY,
    check_null,
    forbid_writing,
    hide,
    list_hidden_directories,
    try_masks,
)
from mocker.isolation.syscalls import CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, mount
from mocker.isolation.tape import perform
from mocker.isolation.trials import try_in_namespaces
from tests.containers import in_container, make_rootfs, run_captured, script
from tests.in_namespaces import InNewNamespaces, run_in_child
from tests.refusals import bind, enter_private_mounts
from tests.requirements import requires_root, requires_user_namespaces

USER_NAMESPACES = ["private", pytest.param("host", marks=requires_root)]

each_root = pytest.mark.parametrize("rootfs", ["busybox", "host", "directory"])


def find_rootfs(name: str, directory: Path) -> str:
    return str(make_rootfs(directory)) if name == "directory" else name


@in_container
@pytest.mark.parametrize("userns", USER_NAMESPACES)
@pytest.mark.parametrize("network", ["none", "host"])
@each_root
def test_nothing_is_read_that_tells_of_the_host(
    rootfs: str, network: str, userns: str, tmp_path: Path
) -> None:
    text = 'for path; do if [ -d "$path" ]; then ls -A "$path"; else cat "$path"; fi; done'
    paths = [*HIDDEN_FILES, *list_hidden_directories(own_network=network == "none")]
    there = [path for path in paths if Path(path).exists()]
    fields = {"rootfs": find_rootfs(rootfs, tmp_path), "network": network, "userns": userns}

    outcome = run_captured(script(text, *there, **fields))

    assert {"/proc/interrupts", "/proc/keys", "/sys/firmware"} <= set(there)
    assert outcome == (outcome.status, "", "")


@in_container
@pytest.mark.parametrize("userns", USER_NAMESPACES)
@each_root
def test_switches_of_the_kernel_cannot_be_turned(rootfs: str, userns: str, tmp_path: Path) -> None:
    text = """\
    for switch in kernel/core_pattern vm/overcommit_memory net/ipv4/ip_unprivileged_port_start; do
        old=$(cat /proc/sys/$switch) && (echo "$old" >/proc/sys/$switch) && echo "$switch turned"
    done
    [ ! -e /proc/sysrq-trigger ] || { (echo h >/proc/sysrq-trigger) && echo sysrq turned; }
    """

    outcome = run_captured(script(text, rootfs=find_rootfs(rootfs, tmp_path), userns=userns))

    assert outcome.stderr.count("Read-only file system") >= 3
    assert "turned" not in outcome.stdout


@in_container
@pytest.mark.parametrize("userns", USER_NAMESPACES)
def test_parts_of_proc_are_read_only_and_the_rest_is_not(userns: str) -> None:
    outcome = run_captured(script("grep ' /proc' /proc/self/mountinfo", userns=userns))

    flags = {line.split()[4]: line.split()[5].split(",")[0] for line in outcome.stdout.splitlines()}
    assert flags["/proc"] == "rw"
    there = [path for path in READ_ONLY if Path(path).exists()]
    assert [flags[path] for path in there] == ["ro"] * len(there)


@in_container
@each_root
def test_nothing_of_that_can_be_taken_off(rootfs: str, tmp_path: Path) -> None:
    text = """\
    for path in /proc/sys /proc/keys /sys/firmware /proc /sys /dev /dev/null; do
        umount "$path" && echo "$path taken off"
        umount -l "$path" && echo "$path taken off"
        mount --move "$path" /tmp && echo "$path moved"
    done
    for path in /proc/sys /proc/irq /sys /sys/firmware; do
        mount -o remount,rw "$path" && echo "$path writable"
        mount -o remount,bind,rw "$path" && echo "$path writable"
    done
    for path in /proc /sys /dev; do  # by themselves, without what lies on them
        mkdir -p /tmp/x; mount --bind "$path" /tmp/x && echo "$path uncovered"
    done
    mount -t tmpfs none /mnt 2>/dev/null || mount -t tmpfs none /tmp || echo "no rights at all"
    mkdir -p /tmp/x; mount -t proc none /tmp/x && echo "another /proc"
    mount -t sysfs none /tmp/x && echo "another /sys"
    (: >/proc/sys/kernel/core_pattern) && echo written
    cat /proc/keys; ls /sys/firmware
    """
    rights = {"cap_add": ["all"], "seccomp": "unconfined"}
    fields = {"rootfs": find_rootfs(rootfs, tmp_path), **rights}

    outcome = run_captured(script(text, **fields))

    assert outcome.stdout == ""


@requires_user_namespaces
def test_what_a_kernel_lacks_is_left_out(in_new_namespaces: InNewNamespaces) -> None:
    def act() -> dict[str, str]:
        mount("none", "/mnt", "tmpfs")
        os.chdir("/mnt")
        Path("proc").mkdir()
        mount("none", "proc", "tmpfs")
        Path("dev").mkdir()
        Path("dev/null").touch()
        for name in (
            "proc/keys",
            "proc/sys/switch",
            "proc/other",
            "proc/acpi/wakeup",
            "sys/firmware/table",
        ):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text("of the host")
        perform(forbid_writing())
        perform(hide(("/sys/firmware", "/proc/asound", "/proc/acpi")))
        paths = ("proc/keys", "proc/other", "proc/sys/switch")
        found = {path: Path(path).read_text() for path in paths}
        for name in ("proc/sys/new", "proc/acpi/wakeup", "sys/firmware/new"):
            try:
                Path(name).touch()
            except OSError as error:
                found[name] = os.strerror(error.errno or 0)
        Path("proc/new").touch()
        return found

    assert in_new_namespaces(act) == {
        "proc/acpi/wakeup": "Read-only file system",
        "proc/keys": "",
        "proc/other": "of the host",
        "proc/sys/new": "Read-only file system",
        "proc/sys/switch": "of the host",
        "sys/firmware/new": "Read-only file system",
    }


def test_each_processor_that_tells_of_its_heat_is_covered() -> None:
    paths = list_hidden_directories(own_network=True)

    throttles = {str(path) for path in Path("/sys/devices/system/cpu").glob("*/thermal_throttle")}
    assert throttles == {path for path in paths if path.endswith("thermal_throttle")}


def test_file_systems_for_looking_into_the_kernel_are_covered_where_they_are_the_hosts() -> None:
    own, shared = (set(list_hidden_directories(own_network=own)) for own in (True, False))

    assert shared - own == {"/sys/kernel/debug", "/sys/kernel/tracing"}


@pytest.mark.parametrize(
    ("stand_in", "reason"),
    [
        ("/dev/zero", "it is not the null device"),
        ("/proc/version", "it is not the null device"),
    ],
)
@requires_user_namespaces
def test_null_device_that_is_something_else_covers_nothing(stand_in: str, reason: str) -> None:
    def act() -> None:
        enter_private_mounts()
        bind(stand_in, "/dev/null")
        check_null()

    check_null()
    with pytest.raises(SetupError, match=f"cannot cover files with /dev/null; {reason}"):
        run_in_child(act)


@requires_user_namespaces
def test_trial_tells_that_something_is_seen_all_the_same() -> None:
    def act() -> None:
        bind("/etc/passwd", "/dev/null")
        try_masks()

    with pytest.raises(SetupError) as caught:
        try_in_namespaces(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID, act, "cover anything")

    assert caught.value.errno == EEXIST


def test_what_docker_covers_is_covered() -> None:
    switches = {f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")}
    names = [
        "interrupts",
        "kcore",
        "keys",
        "latency_stats",
        "sched_debug",
        "timer_list",
        "timer_stats",
    ]
    directories = {
        *("/proc/acpi", "/proc/asound", "/proc/scsi"),
        *("/sys/firmware", "/sys/devices/virtual/powercap"),
    }

    assert set(READ_ONLY) == switches
    assert {f"/proc/{name}" for name in names} <= set(HIDDEN_FILES)
    assert directories <= set(list_hidden_directories(own_network=True))
