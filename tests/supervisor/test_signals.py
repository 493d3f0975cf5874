import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

from mocker.supervisor.signals import open_signals, record_early_signals
from tests.in_namespaces import run_in_child
from tests.requirements import requires_user_namespaces

TAKEN = [
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGQUIT,
]


def send(*numbers: int) -> None:
    """Send signals to this process, each of which is handled before the next."""
    for number in numbers:
        os.kill(os.getpid(), number)


async def take(signals: AsyncIterator[int], count: int) -> list[int]:
    with trio.fail_after(5):
        return [await anext(signals) for _ in range(count)]


def run(function: Callable[[], Awaitable[list[int]]], before: Callable[[], object]) -> list[int]:
    """Run a function in the event loop of a process of its own, and something else before."""

    async def act() -> list[int]:
        return await function()

    return run_in_child(lambda: (before(), trio.run(act))[1])


def test_signals_from_before_the_loop_come_first_and_none_is_lost() -> None:
    def early() -> None:
        record_early_signals()
        send(*TAKEN, signal.SIGTERM)

    async def act() -> list[int]:
        send(signal.SIGHUP, signal.SIGHUP)
        async with open_signals() as signals:
            send(signal.SIGUSR1)
            return await take(signals, len(TAKEN) + 4)

    assert run(act, early) == [*TAKEN, signal.SIGTERM, signal.SIGHUP, signal.SIGHUP, signal.SIGUSR1]


@pytest.mark.parametrize("number", TAKEN)
def test_each_signal_of_a_kind_counts(number: int) -> None:
    async def act() -> list[int]:
        async with open_signals() as signals:
            send(number, number, number)
            return await take(signals, 3)

    assert run(act, lambda: None) == [number] * 3


def test_signal_wakes_a_loop_that_has_nothing_to_do() -> None:
    async def act() -> list[int]:
        async with open_signals() as signals:
            child = os.fork()
            if child == 0:
                os.kill(os.getppid(), signal.SIGTERM)
                os._exit(0)
            taken = await take(signals, 1)
            os.waitpid(child, 0)  # noqa: ASYNC222
            return taken

    assert run(act, lambda: None) == [signal.SIGTERM]


def test_signal_after_the_end_does_no_harm_and_is_kept() -> None:
    async def act() -> list[int]:
        async with open_signals():
            send(signal.SIGTERM)
        send(signal.SIGINT)
        async with open_signals() as signals:
            send(signal.SIGHUP)
            return await take(signals, 3)

    # The first was not in the loop's hands yet when the block ended.
    assert sorted(run(act, lambda: None)) == [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]


def test_signals_after_the_loop_do_not_end_the_process() -> None:
    async def act() -> None:
        async with open_signals():
            await trio.lowlevel.checkpoint()

    def run_and_send() -> str:
        trio.run(act)
        send(*TAKEN)
        return "alive"

    assert run_in_child(run_and_send) == "alive"


def test_caller_that_ignores_or_blocks_signals_is_no_obstacle() -> None:
    def ignore_and_block() -> None:
        for number in TAKEN[:2]:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)
        record_early_signals()

    async def act() -> list[int]:
        async with open_signals() as signals:
            send(*TAKEN)
            return await take(signals, len(TAKEN))

    assert run(act, ignore_and_block) == TAKEN


@requires_user_namespaces
@pytest.mark.slow
def test_first_process_of_a_pid_namespace_gets_signals() -> None:
    program = (
        "from mocker.supervisor.signals import record_early_signals, open_signals\n"
        "record_early_signals()\n"
        "import os; os.kill(1, 15); os.getpid() == 1 or os._exit(9)\n"
        "import trio\n"
        "async def main():\n"
        "    async with open_signals() as signals: print(await anext(signals))\n"
        "trio.run(main)"
    )
    namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]

    result = subprocess.run(
        [*namespace, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )

    assert (result.stdout, result.stderr) == ("15\n", "")


def test_noting_early_signals_loads_no_event_loop() -> None:
    program = "import sys, mocker.supervisor.signals; print('trio' in sys.modules)"

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert result.stdout == "False\n"
