import _socket
import os
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from mocker.isolation import CommandError, ForkServerError
from mocker.isolation.cloner import _INIT, Cloner
from tests.cloners import be_planner, launch, open_cloner, run
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [requires_busybox, requires_user_namespaces]


@pytest.fixture
def cloner() -> Iterator[Cloner]:
    with open_cloner(be_planner) as (cloner, _):
        yield cloner


def test_command_that_takes_too_much_memory_is_refused(cloner: Cloner) -> None:
    with pytest.raises(CommandError, match="E2BIG"):
        run(cloner, ["true", "x" * 2**23])

    assert run(cloner, ["true"]) == 0


def test_cloner_that_is_gone_is_an_error() -> None:
    with open_cloner(be_planner) as (cloner, pid):
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        with pytest.raises(ForkServerError, match="cannot ask the cloner: it is gone"):
            launch(cloner, ["true"])


def test_cloner_that_dies_on_the_way_is_an_error() -> None:
    with open_cloner(be_planner) as (cloner, pid):
        os.kill(pid, signal.SIGSTOP)
        killer = os.fork()
        if killer == 0:
            time.sleep(0.05)  # for the request to be on its way
            os.kill(pid, signal.SIGKILL)
            os._exit(0)

        with pytest.raises(ForkServerError, match="it is gone"):
            launch(cloner, ["true"])
        os.waitpid(killer, 0)


def test_requests_of_two_askers_do_not_mix(cloner: Cloner) -> None:
    requests = _socket.socket(fileno=os.dup(cloner.requests.fileno()))
    other = Cloner(requests, os.dup(cloner.pidfd))

    codes = [run(each, ["sh", "-c", f"exit {n}"]) for n in range(4) for each in (cloner, other)]

    other.close()
    assert codes == [0, 0, 1, 1, 2, 2, 3, 3]


def test_cloner_that_dies_while_it_clones_is_an_error(cloner: Cloner) -> None:
    with open_cloner(be_planner) as (mortal, pid):
        ours, theirs = socket.socketpair()
        os.kill(pid, signal.SIGSTOP)
        mortal._ask(0, _INIT, [theirs.fileno()] * 5)
        keeper = os.fork()  # as a clone that has all of the cloner's descriptors open
        if keeper == 0:
            ours.recv(1)
            os._exit(0)
        os.kill(pid, signal.SIGKILL)

        with pytest.raises(ForkServerError, match="it is gone"):
            mortal.take()

        ours.close()
        theirs.close()
        os.kill(keeper, signal.SIGKILL)
        os.waitpid(keeper, 0)
