from pathlib import Path

from mocker.isolation import ContainerSpec
from mocker.isolation.etc_files import render_network_files, render_user_files


def spec(hostname: str = "inside", network: str = "none") -> ContainerSpec:
    return ContainerSpec(["true"], hostname=hostname, network=network)


def test_every_user_has_the_seven_fields_of_passwd() -> None:
    lines = render_user_files()["passwd"].splitlines()

    assert {line.count(":") for line in lines} == {6}


def test_every_group_has_the_four_fields_of_group() -> None:
    lines = render_user_files()["group"].splitlines()

    assert {line.count(":") for line in lines} == {3}


def test_every_user_has_a_group() -> None:
    files = render_user_files()
    groups = {line.split(":")[2] for line in files["group"].splitlines()}

    users = {line.split(":")[0]: line.split(":")[3] for line in files["passwd"].splitlines()}

    assert set(users.values()) <= groups


def test_root_is_the_first_user_and_has_a_shell() -> None:
    first = render_user_files()["passwd"].splitlines()[0]

    assert first == "root:x:0:0:root:/root:/bin/sh"


def test_terminals_have_the_group_that_devpts_gives_them() -> None:
    assert "tty:x:5:" in render_user_files()["group"].splitlines()


def test_own_host_name_is_in_hosts_and_hostname() -> None:
    files = render_network_files(spec("web"))

    assert files["hostname"] == "web\n"
    assert "127.0.1.1\tweb" in files["hosts"].splitlines()


def test_localhost_is_the_loopback_device_in_both_protocols() -> None:
    lines = render_network_files(spec())["hosts"].splitlines()

    assert [line.split()[0] for line in lines if "localhost" in line.split()] == [
        "127.0.0.1",
        "::1",
    ]


def test_without_a_network_there_is_no_name_server() -> None:
    assert render_network_files(spec(network="none"))["resolv.conf"] == ""


def test_with_the_network_of_the_host_its_name_servers_are_used() -> None:
    resolver = Path("/etc/resolv.conf")
    expected = resolver.read_text() if resolver.exists() else ""

    assert render_network_files(spec(network="host"))["resolv.conf"] == expected
