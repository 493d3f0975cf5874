"""Containers that are asked for from an event loop."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from mocker.isolation import Container, ContainerSpec, ForkServer, ForkServerError, SetupError
from mocker.supervisor.starter import Starter
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [requires_user_namespaces, requires_busybox]

SLEEP = ContainerSpec(["sleep", "1000"])
STDIO = (0, 1, 2)


@pytest.fixture
def starter() -> Iterator[Starter]:
    with ForkServer() as server:
        starter = Starter(server, lambda _pid: None)
        yield starter
    for pid in starter.given_up:
        os.waitpid(pid, 0)


async def test_each_gets_its_own_container(starter: Starter) -> None:
    specs = [ContainerSpec(["sleep", str(1000 + number)]) for number in range(20)]
    with ExitStack() as stack:

        async def ask(spec: ContainerSpec) -> None:
            container = stack.enter_context(await starter.start(spec, STDIO))
            containers.append((spec, container))

        containers: list[tuple[ContainerSpec, Container]] = []
        async with trio.open_nursery() as nursery:
            for spec in specs:
                nursery.start_soon(ask, spec)

        assert len({container.pid for _, container in containers}) == len(specs)
        assert all(container.spec is spec for spec, container in containers)


async def test_refusal_is_that_of_who_asked(starter: Starter) -> None:
    wrong = ContainerSpec(["true"], rootfs="/nosuch")
    refused = []

    async def ask(spec: ContainerSpec) -> None:
        try:
            with await starter.start(spec, STDIO) as container:
                container.wait_started()
        except SetupError:
            refused.append(spec)

    async with trio.open_nursery() as nursery:
        for spec in (SLEEP, wrong, SLEEP, wrong):
            nursery.start_soon(ask, spec)

    assert refused == [wrong, wrong]


async def test_answer_of_a_cancelled_request_is_not_taken_for_the_next_one(
    starter: Starter,
) -> None:
    async def ask() -> None:
        (await starter.start(ContainerSpec(["sleep", "1"]), STDIO)).close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    with await starter.start(SLEEP, STDIO) as container:
        assert container.spec is SLEEP
        container.wait_started()
        assert container.poll() is None


async def test_server_that_is_gone_is_told(starter: Starter) -> None:
    os.kill(starter.server.pid, signal.SIGKILL)

    with pytest.raises(ForkServerError):
        await starter.start(SLEEP, STDIO)


async def test_descriptor_that_is_not_open_holds_nobody_up(starter: Starter) -> None:
    with pytest.raises(SetupError):
        await starter.start(SLEEP, (0, 1, 999))

    with await starter.start(SLEEP, STDIO) as container:
        container.wait_started()


async def test_start_that_is_held_up_holds_up_no_other(starter: Starter) -> None:
    os.kill(starter.server.pid, signal.SIGSTOP)  # as if it looked at a file that does not answer
    order: list[str] = []
    with ExitStack() as stack:

        async def ask(name: str) -> None:
            stack.enter_context(await starter.start(SLEEP, STDIO))
            order.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "held up")
            await trio.testing.wait_all_tasks_blocked()
            for number in range(10):
                await ask(f"other {number}")
            os.kill(starter.server.pid, signal.SIGCONT)

    assert order == [*(f"other {number}" for number in range(10)), "held up"]


async def test_start_that_takes_too_long_is_given_up_with_its_planner(starter: Starter) -> None:
    planner = starter.server.pid
    os.kill(planner, signal.SIGSTOP)

    with pytest.raises(SetupError, match=r"make its container; there was no answer for 0.1 s"):
        await starter.start(SLEEP, STDIO, patience=0.1)
    with await starter.start(SLEEP, STDIO, patience=10) as container:
        container.wait_started()

    assert starter.given_up == {planner}


async def test_one_more_is_asked_if_none_answers(autojump_clock: MockClock) -> None:
    stopped: list[int] = []
    opened: list[int] = []

    def watch(pid: int) -> None:
        opened.append(pid)
        if len(opened) == 1:
            stop(pid)

    def stop(pid: int) -> None:
        stopped.append(pid)
        os.kill(pid, signal.SIGSTOP)

    with ForkServer() as server, ExitStack() as stack:
        starter, order = Starter(server, watch), list[str]()
        stop(server.pid)

        async def ask(name: str) -> None:
            stack.enter_context(await starter.start(SLEEP, STDIO))
            order.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "held up")
            nursery.start_soon(ask, "held up")
            await trio.testing.wait_all_tasks_blocked()
            await ask("other")
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    assert order == ["other", "held up", "held up"]
    assert len(opened) == 2


async def test_planner_that_dies_is_replaced(starter: Starter) -> None:
    opened: list[int] = []
    starter._watch = opened.append
    os.kill(starter.server.pid, signal.SIGKILL)
    with pytest.raises(ForkServerError):
        await starter.start(SLEEP, STDIO)

    with await starter.start(SLEEP, STDIO) as container:
        container.wait_started()

    assert len(opened) == 1
