import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import pytest
import structlog
import trio

from mocker.isolation import ExitStatus, spawn
from mocker.supervisor.reaper import Reaper, become_subreaper
from tests.containers import in_container, script
from tests.in_namespaces import run_in_child
from tests.requirements import requires_user_namespaces

Events = list[dict[str, object]]

# A supervisor, one of whose children leaves many ended ones of its own behind all at once.
BURST = r"""
import signal, subprocess, sys, time
import structlog, trio
from mocker.supervisor.reaper import Reaper, become_subreaper

sys.argv[2] == "subreaper" and become_subreaper()
told = []

def keep(_logger, _name, event):
    told.append(event.get("count", 1))
    raise structlog.DropEvent

async def beat(gaps):
    while True:
        began = time.monotonic()
        await trio.sleep(0.001)
        gaps.append(time.monotonic() - began)

async def main():
    structlog.configure(processors=[keep])
    text = f"import os\nfor _ in range({sys.argv[1]}): os.fork() or os._exit(0)\nos._exit(7)"
    reaper, gaps = Reaper(), []
    async with trio.open_nursery() as nursery:
        await nursery.start(reaper.run)
        with reaper.starting():
            parent = subprocess.Popen([sys.executable, "-ISc", text])
            reaper.watch(parent.pid)
        nursery.start_soon(beat, gaps)
        status = await reaper.wait(parent.pid)
        with trio.move_on_after(5):
            while sum(told) < int(sys.argv[1]):
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    parent.returncode = 0
    print(status, sum(told), max(gaps) < 0.5 or max(gaps))

trio.run(main)
"""


def fork(code: int = 0, *, wait_for: int | None = None) -> int:
    """Fork a child that ends with a code, once a descriptor is readable."""
    pid = os.fork()
    if pid == 0:
        if wait_for is not None:
            os.read(wait_for, 1)
        os._exit(code)
    return pid


def fork_ended(code: int = 0) -> int:
    """Fork a child that has ended when this returns."""
    pid = fork(code)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def fork_orphan(number: int) -> int:
    """Fork a child whose own child lives a little longer, and ends by a signal; return its pid."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        orphan = os.fork()
        if orphan == 0:
            signal.pause()
        os.write(write_end, str(orphan).encode())
        os._exit(0)
    orphan = int(os.read(read_end, 20))
    os.waitpid(child, 0)
    os.kill(orphan, number)
    return orphan


def with_reaper(test: Callable[[Reaper], Awaitable[object]]) -> Events:
    """Run a function beside a reaper, in a process of its own, and return what was logged.

    Its result is logged last. In pytest's own process a reaper would take others' children.
    """

    async def run() -> None:
        reaper = Reaper()
        async with trio.open_nursery() as nursery:
            await nursery.start(reaper.run)
            with trio.fail_after(10):
                result = await test(reaper)
            nursery.cancel_scope.cancel()
        if result is not None:
            structlog.get_logger().info("result", result=result)

    def act() -> Events:
        with structlog.testing.capture_logs() as events:
            trio.run(run)
        return [dict(event) for event in events]

    return run_in_child(act)


async def wait_collected(pid: int) -> None:
    """Wait until a pid is no child any more."""
    while True:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # noqa: ASYNC222
        except ChildProcessError:
            return
        await trio.sleep(0.001)


@pytest.mark.parametrize("end", [ExitStatus(code=7), ExitStatus(signal=signal.SIGKILL)])
def test_known_child_wakes_who_waits_for_it(end: ExitStatus) -> None:
    async def act(reaper: Reaper) -> ExitStatus | None:
        read_end, write_end = os.pipe()
        with reaper.starting():
            pid = fork(end.code or 0, wait_for=read_end)
            reaper.watch(pid)
        os.kill(pid, signal.SIGKILL) if end.signal else os.write(write_end, b"x")
        return await reaper.wait(pid)

    assert with_reaper(act) == [{"event": "result", "log_level": "info", "result": end}]


def test_child_that_ended_before_the_reaper_began_is_collected() -> None:
    async def run() -> ExitStatus | None:
        reaper = Reaper()
        pid = fork_ended(7)
        reaper.watch(pid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reaper.run)
            status = await reaper.wait(pid)
            nursery.cancel_scope.cancel()
        return status

    assert run_in_child(lambda: trio.run(run)) == ExitStatus(code=7)


def test_child_that_is_collected_before_its_pid_is_known_is_no_orphan() -> None:
    async def act(reaper: Reaper) -> ExitStatus | None:
        with reaper.starting():
            pid = fork_ended(7)
            await wait_collected(pid)
            reaper.watch(pid)
        return await reaper.wait(pid)

    assert [event["event"] for event in with_reaper(act)] == ["result"]


def test_orphan_that_ends_during_a_start_is_told_after_it() -> None:
    async def act(reaper: Reaper) -> str:
        with reaper.starting(), reaper.starting():
            await wait_collected(fork_ended(7))
            structlog.get_logger().info("started")
        return "over"

    events = with_reaper(act)

    assert [event["event"] for event in events] == ["started", "orphan.reaped", "result"]
    assert events[1]["exit_code"] == 7


def test_orphan_is_not_taken_for_a_new_child_with_its_number() -> None:
    async def act(reaper: Reaper) -> bool:
        read_end, write_end = os.pipe()
        with reaper.starting():
            pid = fork(wait_for=read_end)
            reaper._unclaimed[pid] = ExitStatus(code=7)
            reaper.watch(pid)
        os.write(write_end, b"x")
        return await reaper.wait(pid) == ExitStatus(code=0)

    events = with_reaper(act)

    assert [event["event"] for event in events] == ["orphan.reaped", "result"]
    assert events[1]["result"] is True


def test_adopted_orphan_is_collected_and_told() -> None:
    async def act(reaper: Reaper) -> int:
        become_subreaper()
        orphan = fork_orphan(signal.SIGTERM)
        await wait_collected(orphan)
        await trio.testing.wait_all_tasks_blocked()
        return orphan

    told, result = with_reaper(act)

    assert told["event"] == "orphan.reaped"
    assert (told["pid"], told["signal"]) == (result["result"], "SIGTERM")


def test_wait_for_a_child_that_somebody_else_collected_ends() -> None:
    async def act(reaper: Reaper) -> list[object]:
        read_end, write_end = os.pipe()
        pid = fork(wait_for=read_end)
        reaper.watch(pid)
        os.write(write_end, b"x")
        os.waitpid(pid, 0)  # noqa: ASYNC222
        return [await reaper.wait(pid), await reaper.wait(pid)]

    assert with_reaper(act)[-1]["result"] == [None, None]


def test_forgotten_child_wakes_who_waits_for_it() -> None:
    async def act(reaper: Reaper) -> str:
        read_end, write_end = os.pipe()
        pid = fork(wait_for=read_end)
        reaper.watch(pid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reaper.wait, pid)
            await trio.testing.wait_all_tasks_blocked()
            reaper.forget(pid)
        os.write(write_end, b"x")
        os.waitpid(pid, 0)  # noqa: ASYNC222
        return "over"

    assert with_reaper(act)[-1]["result"] == "over"


def test_children_that_end_at_once_are_all_collected() -> None:
    async def act(reaper: Reaper) -> set[object]:
        read_end, write_end = os.pipe()
        pids = [fork(7, wait_for=read_end) for _ in range(50)]
        for pid in pids:
            reaper.watch(pid)
        os.write(write_end, b"x" * 50)
        return {await reaper.wait(pid) for pid in pids}

    (result,) = with_reaper(act)

    assert result["result"] == {ExitStatus(code=7)}


def test_most_orphans_of_a_burst_are_told_as_a_number() -> None:
    async def act(reaper: Reaper) -> None:
        with reaper.starting():
            for pid in [fork_ended() for _ in range(50)]:
                await wait_collected(pid)

    events = with_reaper(act)

    assert len(events) == 11
    assert events[-1] == {"event": "orphan.reaped", "log_level": "info", "count": 40}


def test_caller_that_blocks_or_ignores_sigchld_is_no_obstacle() -> None:
    async def run() -> str:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        reaper = Reaper()
        async with trio.open_nursery() as nursery:
            await nursery.start(reaper.run)
            pid = fork(7)
            reaper.watch(pid)
            status = await reaper.wait(pid)
            nursery.cancel_scope.cancel()
        return str(status)

    assert run_in_child(lambda: trio.run(run)) == "exit code 7"


@in_container
def test_status_of_a_container_is_known_after_the_reaper_collected_it() -> None:
    async def act(reaper: Reaper) -> list[ExitStatus | None]:
        with reaper.starting():
            container = spawn(script("exit 7"))
            reaper.watch(container.pid)
        with container:
            return [await reaper.wait(container.pid), container.poll()]

    (result,) = with_reaper(act)

    assert result["result"] == [ExitStatus(code=7), ExitStatus(code=7)]


@pytest.mark.slow
@requires_user_namespaces
@pytest.mark.parametrize("role", ["init", "subreaper"])
def test_burst_of_orphans_is_collected_within_seconds(role: str) -> None:
    new_pid_namespace = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    python = [sys.executable, "-c", BURST, "10000", role]

    began = time.monotonic()
    result = subprocess.run(
        python if role == "subreaper" else new_pid_namespace + python,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert (result.stdout, result.stderr) == ("exit code 7 10000 True\n", "")
    assert time.monotonic() - began < 15
