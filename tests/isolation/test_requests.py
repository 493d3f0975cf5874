"""What the parent can ask of a running container's init, from outside."""

import os
import signal
import socket
from collections.abc import Sequence

import pytest

from mocker.isolation import Container, ContainerSpec, ExitStatus, SetupError, receive_descriptors
from tests.containers import in_container, open_container, script, wait_for_titles, wait_readable
from tests.leaks import read_descriptors

SLEEP = ContainerSpec(["sleep", "1000"])


def read_output(container: Container, argv: Sequence[str]) -> str:
    """Execute a command beside that of a container, and return what it prints."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, encoding="utf-8") as output:
        try:
            process = container.start_process(argv, stdio=(0, write_end, 2))
        finally:
            os.close(write_end)
        with process:
            text = output.read()
            process.wait()
    return text


def ask_often(container: Container) -> None:
    """Ask for more than anything could keep for an init that does not take it."""
    for _ in range(10_000):
        container.request_socket(socket.AF_INET).close()


@in_container
def test_process_is_beside_the_command() -> None:
    with open_container(SLEEP) as (container, _):
        text = read_output(
            container, ["sh", "-c", "cat /proc/net/dev; tr '\\0' ' ' </proc/2/cmdline"]
        )

    assert "lo:" in text
    assert text.endswith("sleep 1000 ")


@in_container
@pytest.mark.parametrize(("code", "status"), [("exit 3", 3), ("exit 0", 0)])
def test_process_has_a_status_of_its_own(code: str, status: int) -> None:
    with (
        open_container(SLEEP) as (container, _),
        container.start_process(["sh", "-c", code]) as process,
    ):
        assert process.wait() == ExitStatus(code=status)


@in_container
def test_process_that_is_let_go_of_is_killed_with_its_group() -> None:
    with open_container(SLEEP) as (container, _):
        process = container.start_process(["sh", "-c", "sleep 2000 & sleep 3000; :"])
        process.poll()  # it has a number now
        wait_for_titles(
            container, "sleep 1000", "sh -c sleep 2000 & sleep 3000; :", "sleep 2000", "sleep 3000"
        )
        process.close()

        assert wait_for_titles(container, "sleep 1000") == ["sleep 1000"]


@in_container
def test_process_that_is_let_go_of_before_it_has_started_does_not_stay() -> None:
    with open_container(SLEEP) as (container, _):
        for _ in range(10):
            container.start_process(["sleep", "2000"]).close()
        with container.start_process(["true"]) as process:
            process.wait()  # requests are served in their order

        assert wait_for_titles(container, "sleep 1000") == ["sleep 1000"]


@in_container
def test_process_leaves_its_group_behind_unless_that_is_to_be_killed() -> None:
    argv = ["sh", "-c", "sleep 2000 & exit 0"]
    with open_container(SLEEP) as (container, _):
        with container.start_process(argv, kill_group=True) as process:
            process.wait()
        first = wait_for_titles(container, "sleep 1000")
        with container.start_process(argv) as process:
            process.wait()
        second = wait_for_titles(container, "sleep 1000", "sleep 2000")

    assert (first, sorted(second)) == (["sleep 1000"], ["sleep 1000", "sleep 2000"])


@in_container
def test_socket_is_of_the_containers_network() -> None:
    # It listens before it goes to the background.
    text = "httpd -p 127.0.0.1:8080 -h /etc; echo up; exec sleep 1000"
    with open_container(script(text)) as (container, output):
        output.readline()
        with container.request_socket(socket.AF_INET) as reply:
            (fd,) = receive_descriptors(reply)
        with socket.socket(fileno=fd) as stream:
            stream.connect(("127.0.0.1", 8080))

        assert stream.fileno() == -1


@in_container
def test_answer_that_nobody_takes_harms_nobody_and_leaves_nothing() -> None:
    count = ["grep", "sockets", "/proc/net/sockstat"]
    with open_container(SLEEP) as (container, _):
        read_output(container, count)
        own, before = len(read_descriptors()), read_output(container, count)
        for _ in range(20):
            container.request_socket(socket.AF_INET).close()
            container.request_namespaces().close()
        after = read_output(container, count)

        assert (after, len(read_descriptors())) == (before, own)
        assert container.poll() is None


@in_container
def test_command_that_has_ended_is_told_from_the_container() -> None:
    left = "trap '' TERM; echo >/tmp/set; while :; do sleep 0.01; done"
    text = f"mkfifo /tmp/set; ({left}) & read -r _ </tmp/set; echo up; exec sleep 1000"
    with open_container(script(text, grace=1000)) as (container, output):
        output.readline()
        before = container.has_ended()
        container.send_signal(signal.SIGTERM)
        after = wait_readable(container.control_fd, 5) and container.has_ended()

        assert (before, after, container.poll()) == (False, True, None)


@in_container
def test_init_that_does_not_listen_keeps_nobody_waiting() -> None:
    with open_container(SLEEP) as (container, _):
        os.kill(container.pid, signal.SIGSTOP)
        try:
            with pytest.raises(SetupError, match="ask the container's init"):
                ask_often(container)
        finally:
            os.kill(container.pid, signal.SIGCONT)


@in_container
def test_container_that_is_gone_cannot_be_asked() -> None:
    with open_container(SLEEP) as (container, _):
        container.kill()
        container.wait()

        with pytest.raises(SetupError, match="ask the container's init"):
            container.request_socket(socket.AF_INET)
