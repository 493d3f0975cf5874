"""The pause of a run, of real containers in cgroups of their own."""

import os
from collections.abc import Iterator

import pytest
import trio

from mocker.isolation import SetupError
from mocker.supervisor.config import Probe
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from tests.leaks import PATIENCE
from tests.requirements import requires_busybox, requires_root, requires_user_namespaces
from tests.supervisor.cgroup_world import make_means_with_cgroups
from tests.supervisor.job_world import (
    configure,
    make_means,
    reach,
    read_lines,
    surroundings,
    wait_for_line,
)

pytestmark = [requires_root, requires_user_namespaces, requires_busybox]

COUNT = "trap 'echo bye; exit' TERM; while echo going; do sleep 0.01; done"


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means_with_cgroups() as means:
        yield means


class Paused:
    """A job that is paused.

    Attributes:
        job: It.
    """

    def __init__(self, means: Means, script: str = COUNT, **fields: object) -> None:
        self._means = means
        self.job = Job(configure(script, **fields), means, let_go_on, lambda _: None)

    async def be(self, nursery: trio.Nursery) -> None:
        """Start it, and pause it as soon as it has printed something."""
        nursery.start_soon(self.job.run)
        self.job.start()
        await reach(self.job, State.RUNNING)
        await self.print_more()
        self.job.freeze()
        assert await self.job.pause.wait_frozen(self._means.running["web"])

    async def print_more(self) -> None:
        """Wait until it has printed more than now."""
        before = len(read_lines(self._means))
        with trio.fail_after(PATIENCE):
            while len(read_lines(self._means)) <= before + 1:  # noqa: ASYNC110 - they are in a file
                await trio.sleep(0.01)

    async def stop(self) -> None:
        """Stop it, and wait until it is gone."""
        self.job.stop()
        with trio.fail_after(PATIENCE):
            await self.job.wait_at_rest()


async def let_go_on(_: object) -> str:
    return ""


async def test_paused_job_does_nothing_and_goes_on_where_it_was(means: Means) -> None:
    paused = Paused(means)

    async with surroundings(means) as nursery:
        await paused.be(nursery)
        pid, is_paused = paused.job.pid, paused.job.is_paused
        await trio.sleep(0.05)  # what was printed before has arrived
        before = len(read_lines(means))
        await trio.sleep(0.2)
        meanwhile = len(read_lines(means))
        paused.job.thaw()
        await paused.print_more()
        after = paused.job.is_paused
        assert paused.job.pid == pid
        await paused.stop()

    assert (is_paused, after) == (True, False)
    assert meanwhile == before


async def test_stop_lets_a_paused_job_end_as_others_do(means: Means) -> None:
    paused = Paused(means, grace=100.0)

    async with surroundings(means) as nursery:
        await paused.be(nursery)
        await paused.stop()

    assert read_lines(means)[-1] == "web | bye"
    assert not paused.job.is_paused


async def test_kill_ends_a_paused_job(means: Means) -> None:
    paused = Paused(means, grace=100.0)

    async with surroundings(means) as nursery:
        await paused.be(nursery)
        paused.job.kill()
        with trio.fail_after(PATIENCE):
            await paused.job.wait_at_rest()

    assert str(paused.job.status) == "SIGKILL"
    assert "web | bye" not in read_lines(means)


async def test_next_run_of_a_paused_job_is_not_paused(means: Means) -> None:
    paused = Paused(means)

    async with surroundings(means) as nursery:
        await paused.be(nursery)
        paused.job.stop()
        paused.job.start()
        with trio.fail_after(PATIENCE):
            await reach(paused.job, State.STARTING)
            await reach(paused.job, State.RUNNING)
        await paused.print_more()
        is_paused = paused.job.is_paused
        await paused.stop()

    assert not is_paused


async def test_paused_job_is_not_found_dead_and_is_asked_again_afterwards(means: Means) -> None:
    alive = Probe(kind="exec", target=("test", "-e", "/alive"), interval=0.01, failures=1)
    ready = wait_for_line("going")
    paused = Paused(means, f"touch /alive; {COUNT}", alive=alive, restart="never", **ready)

    async with surroundings(means) as nursery:
        await paused.be(nursery)
        await trio.sleep(0.3)  # for which nobody would get an answer
        state = paused.job.life.state
        with means.running["web"].start_process(["rm", "/alive"], stdio=(0, 1, 2)) as process:
            paused.job.thaw()
            await trio.lowlevel.wait_readable(process)
            with trio.fail_after(PATIENCE):
                await paused.job.wait_at_rest()

    assert state is State.RUNNING
    assert "1 of 1 answers were bad" in paused.job.life.reason


async def test_job_without_a_cgroup_cannot_be_paused_and_the_reason_is_said() -> None:
    with make_means() as means:
        job = Job(configure(COUNT), means, let_go_on, lambda _: None)
        async with surroundings(means) as nursery:
            nursery.start_soon(job.run)
            job.start()
            await reach(job, State.RUNNING)

            with pytest.raises(SetupError) as caught:
                job.freeze()
            assert not job.is_paused
            job.kill()
            await job.wait_at_rest()

    assert caught.value.hint.startswith("its container has no cgroup of its own; give it a limit")
    run = "systemd-run" if os.geteuid() == 0 else "systemd-run --user"
    assert f" delegated to it: {run} --scope " in caught.value.hint


async def test_what_is_frozen_before_it_can_be_counts_as_paused_no_longer_than_it_is(
    means: Means,
) -> None:
    paused = Paused(means)

    async with surroundings(means) as nursery:
        await paused.be(nursery)
        container = means.running["web"]
        paused.job.thaw()

        assert not await paused.job.pause.wait_frozen(container)
        await paused.stop()
