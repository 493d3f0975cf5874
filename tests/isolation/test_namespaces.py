import socket
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec
from mocker.isolation.namespaces import namespace_flags
from mocker.isolation.syscalls import CLONE_NEWNET, CLONE_NEWUSER
from mocker.isolation.user_mapping import plan_user_mapping
from tests.containers import in_container, make_spec, run_captured, script
from tests.requirements import requires_busybox, requires_root, requires_subordinate_ids
from tests.strangers import readable_by_everybody, run_outside

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


def shared_with_host(**fields: object) -> set[str]:
    """Return the namespaces that a container has in common with this process."""
    outcome = run_captured(
        script(
            "for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done", **fields
        )
    )
    inside = outcome.stdout.split()
    assert len(inside) == len(KINDS)
    host = {kind: str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in KINDS}
    return {kind for kind in KINDS if host[kind] in inside}


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, {"cgroup", "ipc", "mount", "network", "pid", "user", "uts"}),
        ({"network": "host"}, {"cgroup", "ipc", "mount", "pid", "user", "uts"}),
        ({"userns": "host"}, {"cgroup", "ipc", "mount", "network", "pid", "uts"}),
    ],
)
def test_namespaces_are_those_that_are_not_shared(fields: dict[str, str], names: set[str]) -> None:
    assert namespace_flags(make_spec(**fields)).keys() == names


def test_each_namespace_has_a_flag_of_its_own() -> None:
    flags = namespace_flags(ContainerSpec(["true"]))

    assert (flags["user"], flags["network"]) == (CLONE_NEWUSER, CLONE_NEWNET)
    assert len({*flags.values()}) == len(flags)


@in_container
def test_nothing_is_shared_with_the_host() -> None:
    assert shared_with_host() == set()


@in_container
def test_network_of_the_host_is_shared_if_asked_for() -> None:
    assert shared_with_host(network="host") == {"net"}


@requires_root
@in_container
def test_users_of_the_host_are_shared_if_asked_for() -> None:
    assert shared_with_host(userns="host") == {"user"}


@in_container
@pytest.mark.parametrize("hostname", ["containerhostname", "a" * 64, "über"])
def test_container_has_its_own_host_name(hostname: str) -> None:
    before = socket.gethostname()

    text = "hostname; hostname josh; hostname"
    outcome = run_captured(script(text, hostname=hostname))

    assert outcome.stdout == f"{hostname}\njosh\n"
    assert socket.gethostname() == before


@in_container
def test_network_is_a_loopback_device_that_is_up() -> None:
    outcome = run_captured(script("ip -o link; ip -o address"))

    link, *addresses = outcome.stdout.splitlines()
    assert "lo: <LOOPBACK,UP,LOWER_UP>" in link
    assert {line.split()[1] for line in addresses} == {"lo"}
    assert {"127.0.0.1/8", "::1/128"} & {line.split()[3] for line in addresses}


@in_container
@pytest.mark.parametrize("user", ["root", pytest.param("1:1", marks=requires_subordinate_ids)])
def test_everybody_may_listen_on_a_low_port_and_be_heard(user: str) -> None:
    text = "nc -l -p 80 -e cat & until echo heard | nc 127.0.0.1 80; do :; done"

    outcome = run_captured(script(text, user=user))

    assert outcome.stdout == "heard\n"


@in_container
def test_everybody_may_ping() -> None:
    last_gid = max(r.inside + r.count for r in plan_user_mapping().gids) - 1

    outcome = run_captured(script("cat /proc/sys/net/ipv4/ping_group_range"))

    assert outcome.stdout.split() == ["0", str(last_gid)]


LOOK = """\
for way in '' /.. /../../.. /proc/1/root /proc/1/cwd /proc/self/root /proc/self/root/..; do
    cat "$way$1" 2>/dev/null
done
cat /proc/self/root/../etc/hostname
"""


@in_container
def test_file_of_the_host_is_out_of_reach_on_every_way() -> None:
    with readable_by_everybody("seen") as witness:
        outcome = run_captured(script(LOOK, str(witness)))

    assert outcome.stdout == "containerhostname\n"


@requires_busybox
def test_file_of_the_host_is_in_reach_without_a_container() -> None:
    with readable_by_everybody("seen") as witness:
        result = run_outside(LOOK, "sh", str(witness))

    assert result.stdout.startswith("seen" * 5)


@in_container
def test_mount_points_are_those_of_the_container_alone() -> None:
    host = {line.split()[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()}

    outcome = run_captured(script("cut -d ' ' -f 1,5 /proc/self/mountinfo"))

    inside = dict(line.split(" ", 1) for line in outcome.stdout.splitlines())
    assert not host & inside.keys()
    assert {point.split("/")[1] for point in inside.values()} == {"", "bin", "dev", "proc", "sys"}
