import os
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec
from mocker.isolation.devices import plan_kernel_filesystems
from tests.containers import in_container, run_captured, script
from tests.requirements import requires_subordinate_ids


@pytest.mark.parametrize(
    ("network", "action"),
    [("none", "mount sysfs on /sys"), ("host", "bind the host's /sys read-only on /sys")],
)
def test_sysfs_is_the_hosts_just_if_its_network_is(network: str, action: str) -> None:
    steps = plan_kernel_filesystems(ContainerSpec(["true"], network=network), None)

    assert [str(step) for step in steps if step.path == "/sys"] == [action]


@in_container
def test_dev_has_what_programs_expect_and_nothing_else() -> None:
    outcome = run_captured(script("ls /dev"))

    assert outcome.stdout.split() == [
        "fd",
        "full",
        "mqueue",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "urandom",
        "zero",
    ]


@in_container
def test_devices_do_what_they_should() -> None:
    text = """\\
    echo lost >/dev/null && wc -c </dev/null
    head -c 3 /dev/zero | od -An -tx1
    echo x >/dev/full || echo full
    head -c 5 /dev/random | wc -c
    head -c 5 /dev/urandom | wc -c
    """

    outcome = run_captured(script(text))

    words = " ".join(outcome.stdout.split())
    assert words == "0 00 00 00 full 5 5"


@in_container
def test_devices_are_those_of_the_host() -> None:
    names = ("null", "zero", "full", "random", "urandom", "tty")

    outcome = run_captured(script("cd /dev; stat -c '%F %t %T' " + " ".join(names)))

    assert outcome.stdout.splitlines() == [
        f"character special file {os.major(rdev):x} {os.minor(rdev):x}"
        for rdev in (Path("/dev", name).stat().st_rdev for name in names)
    ]


@in_container
def test_standard_descriptors_have_names() -> None:
    text = "cat /dev/stdin; echo out >>/dev/stdout; echo err >>/dev/stderr; echo fd >>/dev/fd/1"

    outcome = run_captured(script(text), stdin="in\n")

    assert (outcome.stdout, outcome.stderr) == ("in\nout\nfd\n", "err\n")


@in_container
def test_terminals_are_the_containers_own() -> None:
    outcome = run_captured(script("ls /dev/pts; stat -c '%a' /dev/pts/ptmx"))

    assert outcome.stdout.split() == ["ptmx", "666"]


@in_container
@requires_subordinate_ids
def test_device_node_cannot_be_made() -> None:
    outcome = run_captured(script("mknod /tmp/node c 1 3; mknod /dev/node b 8 0; ls /tmp"))

    assert outcome.stdout == ""
    assert outcome.stderr.count("Operation not permitted") == 2


@in_container
def test_shared_memory_is_there_for_all_and_has_a_limit() -> None:
    text = "stat -c %a /dev/shm; df -k /dev/shm | tail -n 1; echo kept >/dev/shm/x; cat /dev/shm/x"

    outcome = run_captured(script(text))

    mode, size, kept = (line.split() for line in outcome.stdout.splitlines())
    assert (mode, size[1], kept) == (["1777"], str(64 * 1024), ["kept"])


@in_container
def test_message_queues_can_be_made() -> None:
    outcome = run_captured(
        script("touch /dev/mqueue/q && ls /dev/mqueue && grep -c /dev/mqueue /proc/mounts")
    )

    assert outcome.stdout == "q\n1\n"


@in_container
@pytest.mark.parametrize("network", ["none", "host"])
def test_sys_is_read_only_and_shows_the_containers_network(network: str) -> None:
    text = "mkdir /sys/new; ls /sys/class/net"

    outcome = run_captured(script(text, network=network))

    devices = set(outcome.stdout.split())
    host = {path.name for path in Path("/sys/class/net").iterdir()}
    assert "Read-only file system" in outcome.stderr
    assert devices == (host if network == "host" else {"lo"})


@in_container
def test_proc_shows_the_processes_of_the_container_alone() -> None:
    outcome = run_captured(script("cd /proc; echo [0-9]*; cat /proc/1/comm"))

    assert outcome.stdout == "1 2\nmocker-init\n"
