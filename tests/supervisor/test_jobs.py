"""One job with real containers; where time matters it is trio's, which jumps."""

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from mocker.isolation import ExitStatus
from mocker.supervisor.config import CONSOLE, Backoff, ContainerConfig, GiveUp, JobConfig, Probe
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import Life, State
from mocker.supervisor.runs import Means
from tests.end_to_end.processes import find_descendants
from tests.leaks import read_descriptors
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.job_world import (
    configure,
    make_means,
    reach,
    read_lines,
    surroundings,
    wait_for_line,
)

pytestmark = [requires_user_namespaces, requires_busybox]

REST = (State.STOPPED, State.EXITED, State.FATAL)
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 1000; done"


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


class Observed(Job):
    """A job that remembers its states, and when it came to each."""

    def __init__(self, config: JobConfig, means: Means) -> None:
        self.history: list[tuple[float, Life]] = []
        super().__init__(config, means, wait_for_nothing, self.remember)

    def remember(self, _: Job) -> None:
        self.history.append((trio.current_time(), self.life))

    @property
    def states(self) -> list[State]:
        return [life.state for _, life in self.history]


async def wait_for_nothing(_: JobConfig) -> str:
    return ""


async def run_to_rest(config: JobConfig, means: Means) -> Observed:
    """Run a job until nothing follows."""
    async with surroundings(means) as nursery:
        job = Observed(config, means)
        nursery.start_soon(job.run)
        job.start()
        await reach(job, *REST)
    return job


async def test_job_goes_through_its_states(means: Means) -> None:
    job = await run_to_rest(configure("exit 0"), means)

    # Twice STARTING: its command is not executed yet, and is executed.
    assert job.states == [State.STARTING, State.STARTING, State.RUNNING, State.EXITED]


async def test_lines_of_both_channels_have_the_name_before_them(means: Means) -> None:
    await run_to_rest(configure("echo one; echo two >&2; printf three"), means)

    assert sorted(read_lines(means)) == ["web | one", "web | three…", "web | two"]


async def test_output_of_a_run_is_complete_before_its_end_is_told(means: Means) -> None:
    config = configure("seq 20000", give_up=GiveUp(1, 60))

    await run_to_rest(config, means)

    assert read_lines(means) == [f"web | {number}" for number in range(1, 20001)]


async def test_late_lines_of_a_grandchild_are_not_lost(means: Means) -> None:
    child = "trap '' TERM; echo >/tmp/set; for i in 1 2 3; do sleep 0.1; echo $i; done"
    script = f'mkfifo /tmp/set; setsid sh -c "{child}" & read -r _ </tmp/set'.replace("$i", "\\$i")

    await run_to_rest(configure(script), means)

    assert read_lines(means) == ["web | 1", "web | 2", "web | 3"]


async def test_waits_between_runs_grow(means: Means, autojump_clock: MockClock) -> None:
    backoff = Backoff(initial=100, factor=2, max=300, jitter=0, reset_after=1000)
    config = configure("exit 1", backoff=backoff, give_up=GiveUp(5, 10_000))

    job = await run_to_rest(config, means)

    starts = [at for at, life in job.history if life.state is State.RUNNING]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert gaps == pytest.approx([100, 200, 300, 300], abs=1)


async def test_job_is_given_up_after_exactly_so_many_runs(
    means: Means, autojump_clock: MockClock
) -> None:
    config = configure("echo run; exit 1", give_up=GiveUp(4, 3600))

    job = await run_to_rest(config, means)

    assert (job.life.state, read_lines(means)) == (State.FATAL, ["web | run"] * 4)


async def test_stop_during_a_wait_is_immediate_and_nothing_follows(
    means: Means, autojump_clock: MockClock
) -> None:
    async with surroundings(means) as nursery:
        job = Observed(configure("exit 1", backoff=Backoff(initial=50)), means)
        nursery.start_soon(job.run)
        job.start()
        await reach(job, State.BACKOFF)
        job.stop()
        stopped = job.life.state
        await trio.sleep(1000)

    assert (stopped, job.states.count(State.RUNNING)) == (State.STOPPED, 1)


@pytest.mark.slow
async def test_job_that_ignores_its_stop_signal_is_killed_after_the_grace_period(
    means: Means, autojump_clock: MockClock
) -> None:
    # Seconds. Else it jumps while a thread looks for what is to be killed, and until that is dead.
    autojump_clock.autojump_threshold = 1
    async with surroundings(means) as nursery:
        job = Observed(configure(STUBBORN, grace=3600.0, **wait_for_line("ready")), means)
        nursery.start_soon(job.run)
        job.start()
        await reach(job, State.RUNNING)
        asked = trio.current_time()
        job.stop()
        await reach(job, *REST)
        took = trio.current_time() - asked

    assert (job.life.state, job.status) == (State.STOPPED, ExitStatus(signal=9))
    assert took == 3600


async def test_run_that_takes_too_long_is_stopped_and_has_failed(means: Means) -> None:
    config = configure("echo run; exec sleep 1000", timeout=0.2, restart="never")

    with capture_logs() as events:
        job = await run_to_rest(config, means)

    (ended,) = (event for event in events if event["event"] == "job.exited")
    assert (job.status, job.life.succeeded) == (ExitStatus(signal=15), False)
    assert (ended["reason"], ended["signal"]) == ("it took longer than 0.2 s", "SIGTERM")


async def test_kill_does_not_wait_for_the_grace_period(means: Means) -> None:
    async with surroundings(means) as nursery:
        job = Observed(configure(STUBBORN, grace=3600.0, **wait_for_line("ready")), means)
        nursery.start_soon(job.run)
        job.start()
        await reach(job, State.RUNNING)
        job.stop()
        await trio.testing.wait_all_tasks_blocked()
        job.kill()
        await reach(job, *REST)

    assert job.life.state is State.STOPPED


async def test_stop_that_comes_during_the_start_is_followed(means: Means) -> None:
    async with surroundings(means) as nursery:
        job = Observed(configure("echo ran; sleep 1000"), means)
        nursery.start_soon(job.run)
        job.start()
        await trio.testing.wait_all_tasks_blocked()
        job.stop()
        await reach(job, *REST)

    assert (job.life.state, State.RUNNING in job.states) == (State.STOPPED, False)


@pytest.mark.slow
async def test_many_restarts_at_once_lead_to_one_run(means: Means) -> None:
    async with surroundings(means) as nursery:
        job = Observed(configure("exec sleep 1000"), means)
        nursery.start_soon(job.run)
        job.start()
        await reach(job, State.RUNNING)
        for _ in range(20):
            job.stop()
            job.start()
        await reach(job, State.STARTING)
        await reach(job, State.RUNNING)
        runs = job.states.count(State.RUNNING)
        job.stop()
        await reach(job, *REST)

    assert runs == 2


async def test_stop_during_a_restart_wins(means: Means) -> None:
    async with surroundings(means) as nursery:
        job = Observed(configure("exec sleep 1000"), means)
        nursery.start_soon(job.run)
        job.start()
        await reach(job, State.RUNNING)
        job.stop()
        job.start()
        job.stop()
        await reach(job, *REST)

    assert (job.life.state, job.states.count(State.RUNNING)) == (State.STOPPED, 1)


async def test_job_without_stdin_reads_nothing(means: Means) -> None:
    await run_to_rest(configure("cat; echo end"), means)

    assert read_lines(means) == ["web | end"]


async def test_job_reads_its_file(means: Means, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("hello\n")

    await run_to_rest(configure("cat", stdin=str(tmp_path / "words")), means)

    assert read_lines(means) == ["web | hello"]


async def test_job_with_a_terminal_has_it_for_everything_and_lines_as_others(
    means: Means,
) -> None:
    script = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && stty size; echo $TERM; printf 'no end'"
    before = read_descriptors()

    job = await run_to_rest(configure(script, tty=True, channels={"output": (CONSOLE,)}), means)

    assert read_lines(means) == ["web | 24 80", "web | xterm", "web | no end…"]
    assert (job.terminal, read_descriptors()) == (None, before)


async def test_terminal_of_a_run_that_is_not_executed_leaves_nothing_open(means: Means) -> None:
    container = ContainerConfig(argv=("nosuch",), rootfs="busybox", hostname="web")
    fields = {"tty": True, "channels": {"output": (CONSOLE,)}, "restart": "never"}
    before = read_descriptors()

    await run_to_rest(configure("", container=container, **fields), means)

    assert read_descriptors() == before


async def test_fifo_that_nobody_writes_to_holds_nobody_up(means: Means, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    job = await run_to_rest(configure("cat", stdin=str(tmp_path / "fifo")), means)

    assert job.life.state is State.EXITED


async def test_file_that_is_missing_is_a_failed_start(means: Means, tmp_path: Path) -> None:
    config = configure("cat", stdin=str(tmp_path / "words"), restart="never")

    with capture_logs() as events:
        job = await run_to_rest(config, means)

    assert job.life.state is State.FATAL
    assert [event["event"] for event in events] == ["job.start_failed", "job.given_up"]
    assert "No such file" in events[0]["reason"]


async def test_failed_start_has_the_exit_code_of_a_shell(means: Means) -> None:
    container = ContainerConfig(argv=("nosuch",), rootfs="busybox", hostname="web")
    config = configure("", container=container, restart="never")

    job = await run_to_rest(config, means)

    assert job.status == ExitStatus(code=127)


async def test_job_is_running_once_it_is_ready(means: Means) -> None:
    config = configure("echo up; exec sleep 1000", ready=Probe(kind="log", target="^up$"))

    async with surroundings(means) as nursery:
        job = Observed(config, means)
        nursery.start_soon(job.run)
        job.start()
        await reach(job, State.RUNNING)
        printed = read_lines(means)
        job.stop()
        await reach(job, *REST)

    assert printed in ([], ["web | up"])


async def test_job_that_is_not_ready_in_time_backs_off(means: Means) -> None:
    ready = Probe(kind="log", target="never")
    times = {"start_timeout": 0.5, "backoff": Backoff(initial=0.1)}
    config = configure("exec sleep 1000", ready=ready, give_up=GiveUp(2, 3600), **times)

    job = await run_to_rest(config, means)

    assert State.RUNNING not in job.states
    assert job.life.state is State.FATAL


async def test_events_tell_the_life_of_a_job(means: Means, autojump_clock: MockClock) -> None:
    config = configure("exit 3", give_up=GiveUp(2, 60), backoff=Backoff(jitter=0))

    with capture_logs() as events:
        await run_to_rest(config, means)

    told = [(event["event"], event.get("exit_code"), event.get("delay_s")) for event in events]
    assert told == [
        ("job.started", None, None),
        ("job.exited", 3, 0.5),
        ("job.started", None, None),
        ("job.exited", 3, None),
        ("job.given_up", None, None),
    ]


@pytest.mark.slow
async def test_job_that_ends_in_the_instant_of_its_stop_comes_to_rest(means: Means) -> None:
    async with surroundings(means) as nursery:
        job = Observed(configure("exit 0"), means)
        nursery.start_soon(job.run)
        for turn in range(40):
            job.start()
            await reach(job, State.RUNNING, *REST)
            await trio.sleep(turn * 0.0001)
            job.stop()
            await reach(job, *REST)

    assert job.life.at_rest


@pytest.mark.slow
async def test_job_that_ends_in_the_instant_of_its_restart_runs_once_more(means: Means) -> None:
    turns = 40

    async with surroundings(means) as nursery:
        job = Observed(configure("exit 0"), means)
        nursery.start_soon(job.run)
        for turn in range(turns):
            job.start()
            await reach(job, State.RUNNING, *REST)
            await trio.sleep(turn * 0.0001)
            job.stop()
            job.start()
            await reach(job, *REST)

    executed = {life.began for _, life in job.history} - {None}
    assert (job.life.state, len(executed)) == (State.EXITED, 2 * turns)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("script", ["exit 0", "exec sleep 1000"], ids=["ends", "is stopped"])
async def test_many_runs_leave_nothing_behind(means: Means, script: str) -> None:
    async with surroundings(means) as nursery:
        job = Job(configure(script), means, wait_for_nothing, lambda _: None)
        nursery.start_soon(job.run)

        async def run_often(times: int) -> None:
            for _ in range(times):
                job.start()
                await reach(job, State.RUNNING, *REST)
                if script != "exit 0":
                    job.stop()
                await reach(job, *REST)

        pids = [os.getpid(), *means.starter.server.pids]
        await run_often(50)
        before, memory = list(map(look_at, pids)), list(map(read_memory_kib, pids))
        await run_often(450)
        after, grown = list(map(look_at, pids)), list(map(read_memory_kib, pids))

    assert after == before
    assert [more < most + 1000 for more, most in zip(grown, memory, strict=True)] == [True] * 3


def look_at(pid: int) -> tuple[int, list[int], int]:
    """Return how many descriptors a process has, what is below it, and how many mounts it sees."""
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    mounts = len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    return descriptors, find_descendants(pid), mounts


def read_memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))
