import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, ForkServer, ForkServerError, SetupError
from tests.leaks import read_children
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [requires_busybox, requires_user_namespaces]

TRUE = ContainerSpec(["true"])


@pytest.fixture
def server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


def test_second_planner_goes_on_while_the_first_is_held_up(server: ForkServer) -> None:
    second = server.open_planner()
    os.kill(server.pid, signal.SIGSTOP)

    with second.spawn(TRUE) as container:
        status = container.wait()

    os.kill(server.pid, signal.SIGCONT)
    assert status.code == 0


def test_planners_end_with_the_server_and_leave_nothing() -> None:
    before = read_children()

    with ForkServer() as server:
        planners = [server.open_planner() for _ in range(3)]
        for planner in planners:
            with planner.spawn(TRUE) as container:
                container.wait()
        names = [Path(f"/proc/{planner.pid}/comm").read_text() for planner in planners]

    assert names == ["mocker-fork\n"] * 3
    assert read_children() == before


def test_planner_can_be_ended_by_itself(server: ForkServer) -> None:
    second = server.open_planner()

    second.close()

    assert not Path(f"/proc/{second.pid}").exists()
    with server.spawn(TRUE) as container:
        assert container.wait().code == 0


def test_planner_that_is_killed_takes_no_other_along(server: ForkServer) -> None:
    second = server.open_planner()
    os.kill(second.pid, signal.SIGKILL)

    with pytest.raises(ForkServerError, match=f"cannot ask fork server {second.pid}: it is gone"):
        second.spawn(TRUE)

    with server.spawn(TRUE) as container:
        assert container.wait().code == 0


def test_planner_cannot_be_opened_without_the_cloner() -> None:
    with ForkServer() as server:
        os.kill(server.pids[1], signal.SIGKILL)
        os.waitid(os.P_PID, server.pids[1], os.WEXITED | os.WNOWAIT)

        with pytest.raises(ForkServerError):
            server.open_planner()


def test_planner_without_a_cloner_ends_and_says_so() -> None:
    with ForkServer() as server:
        os.kill(server.pids[1], signal.SIGKILL)

        with pytest.raises(ForkServerError, match="it is gone"):
            server.spawn(TRUE)


def test_what_is_wrong_is_said_by_each_planner(server: ForkServer) -> None:
    second = server.open_planner()

    for planner in (server, second):
        with pytest.raises(SetupError, match="cannot open the rootfs /no/such"):
            planner.spawn(ContainerSpec(["true"], rootfs="/no/such"))
