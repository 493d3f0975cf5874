"""All jobs together, in this process; `end_to_end` has the command."""

import os
import signal
from collections.abc import Iterator
from math import inf

import attrs
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from structlog.typing import EventDict
from trio.testing import MockClock

from mocker.supervisor import reload
from mocker.supervisor.config import Backoff, GiveUp, JobConfig, SupervisorConfig
from mocker.supervisor.errors import ConfigError
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.scaling import ScaleError
from mocker.supervisor.supervise import Supervisor
from mocker.supervisor.turns import NoTurnError
from tests.requirements import requires_busybox, requires_user_namespaces
from tests.supervisor.job_world import configure, make_means, reach, surroundings, wait_for_line

pytestmark = [requires_user_namespaces, requires_busybox]

SLEEP = "exec sleep 1000"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 1000; done"


@pytest.fixture(autouse=True)
def _reading_has_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock not jump to the end of what a thread may take to read the file."""
    monkeypatch.setattr(reload, "_LOAD_S", inf)


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


class Run:
    """A supervisor that runs while a test looks at it.

    Attributes:
        supervisor: The one.
        file: What a reload finds; a ConfigError is raised.
        status: What it ended with.
        abandoned: What it would have ended the process with.
    """

    def __init__(self, means: Means, *jobs: JobConfig, stop_timeout: float = 60) -> None:
        self.file: SupervisorConfig | ConfigError = SupervisorConfig(
            path="/jobs.toml",
            name="jobs",
            stop_timeout=stop_timeout,
            jobs={job.name: job for job in jobs},
        )
        self.supervisor = Supervisor(self.file, means, self.load, self.abandon)
        self.status: int | None = None
        self.abandoned: int | None = None
        self._means = means
        self._send, self._receive = trio.open_memory_channel[int](10)

    def load(self) -> SupervisorConfig:
        if isinstance(self.file, ConfigError):
            raise self.file
        return self.file

    async def abandon(self, status: int) -> None:
        """Remember it, and no more: the test goes on."""
        self.abandoned = status

    def replace(self, *jobs: JobConfig) -> None:
        """Change the file."""
        assert isinstance(self.file, SupervisorConfig)
        self.file = attrs.evolve(self.file, jobs={job.name: job for job in jobs})

    def rewrite(self, *jobs: JobConfig) -> None:
        """Change the file and ask for a reload."""
        self.replace(*jobs)
        self.send(signal.SIGHUP)

    def send(self, number: int) -> None:
        self._send.send_nowait(number)

    async def be(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run to the end."""
        async with surroundings(self._means):
            task_status.started()
            self.status = await self.supervisor.run(self._receive)
        await self._receive.aclose()
        await self._send.aclose()

    async def reach(self, name: str, *states: State) -> None:
        while name not in self.supervisor.jobs:
            await trio.lowlevel.checkpoint()
        await reach(self.supervisor.jobs[name], *states)


def told(events: list[EventDict], name: str) -> list[object]:
    """Return the jobs of all events of a name."""
    return [event.get("job") for event in events if event["event"] == name]


async def test_jobs_that_end_well_end_it_with_0(means: Means) -> None:
    run = Run(means, configure("exit 0", name="one"), configure("exit 0", name="two"))

    await run.be()

    assert run.status == 0


async def test_file_without_jobs_ends_at_once(means: Means) -> None:
    run = Run(means)

    await run.be()

    assert run.status == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"restart": "never"},
        {"give_up": GiveUp(2, 60)},
        {"permanent_codes": frozenset({1})},
        {"kind": "oneshot", "restart": "never"},
    ],
    ids=str,
)
async def test_job_that_fails_for_good_makes_the_status_1(
    means: Means, fields: dict[str, object], autojump_clock: MockClock
) -> None:
    run = Run(means, configure("exit 1", **fields))

    await run.be()

    assert run.status == 1


async def test_critical_job_ends_everything_with_its_status(means: Means) -> None:
    critical = configure("exit 5", name="main", critical=True, restart="never")
    run = Run(means, critical, configure(SLEEP, name="other"))

    await run.be()

    assert (run.status, run.supervisor.jobs["other"].life.state) == (5, State.STOPPED)


async def test_critical_job_that_is_skipped_ends_everything_with_1(means: Means) -> None:
    run = Run(
        means,
        configure("exit 1", name="db", restart="never"),
        configure(SLEEP, name="main", critical=True, depends_on={"db": "completed"}),
        configure(SLEEP, name="other"),
    )

    await run.be()

    assert run.status == 1


async def test_scheduled_job_keeps_it_alive_and_is_not_run_at_the_start(
    means: Means, autojump_clock: MockClock
) -> None:
    run = Run(means, configure("exit 0", kind="oneshot", schedule="0 0 1 1 *"))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await trio.sleep(3600)
        state = run.supervisor.jobs["web"].life.state
        run.send(signal.SIGTERM)

    assert (state, run.status) == (State.STOPPED, 0)


async def test_dependent_of_a_scheduled_job_waits_for_it(
    means: Means, autojump_clock: MockClock
) -> None:
    run = Run(
        means,
        configure("exit 0", name="backup", kind="oneshot", schedule="* * * * * *"),
        configure(
            "exit 7", name="web", critical=True, depends_on={"backup": "completed"}, restart="never"
        ),
    )

    await run.be()

    assert run.status == 7


async def test_wait_before_a_run_does_not_hold_up_a_stop(
    means: Means, autojump_clock: MockClock
) -> None:
    run = Run(means, configure("exit 1", backoff=Backoff(initial=3600, max=3600)))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web", State.BACKOFF)
        asked = trio.current_time()
        run.send(signal.SIGTERM)

    assert (run.status, trio.current_time() - asked < 1) == (0, True)


@pytest.mark.slow
async def test_everything_is_killed_when_the_stop_takes_too_long(
    means: Means, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = 1  # seconds, for what is killed to be gone
    stubborn = configure(STUBBORN, grace=3600.0, **wait_for_line("ready"))
    run = Run(means, stubborn, stop_timeout=2)

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.be)
            await run.reach("web", State.RUNNING)
            run.send(signal.SIGTERM)

    assert (run.status, run.abandoned) == (1, None)
    assert [e["jobs"] for e in events if e["event"] == "supervisor.stop_timed_out"] == [["web"]]


async def test_start_without_an_answer_is_given_up_soon_when_it_is_to_stop(
    means: Means, autojump_clock: MockClock
) -> None:
    os.kill(means.starter.server.pid, signal.SIGSTOP)
    means.cgroups._are_everybodys = False  # no thread asks, for which the clock would not wait
    run = Run(means, configure(SLEEP, grace=3600.0), stop_timeout=7200)

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.be)
            await run.reach("web", State.STARTING)
            began = trio.current_time()
            run.send(signal.SIGTERM)
        took = trio.current_time() - began

    assert means.starter.given_up == {means.starter.server.pid}
    assert [e["event"] for e in events if e["event"].startswith("planner.")] == ["planner.given_up"]
    assert (run.status, took < 5) == (0, True)


async def test_who_holds_the_stop_is_told(means: Means, autojump_clock: MockClock) -> None:
    run = Run(means, configure(STUBBORN, grace=10.0, **wait_for_line("ready")))

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.be)
            await run.reach("web", State.RUNNING)
            run.send(signal.SIGTERM)

    left = [event["killed_in_s"] for event in events if event["event"] == "supervisor.waiting"]
    assert left[:3] == pytest.approx([7, 4, 1], abs=0.5)


async def test_second_signal_kills_at_once(means: Means) -> None:
    run = Run(means, configure(STUBBORN, grace=3600.0, **wait_for_line("ready")))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web", State.RUNNING)
        run.send(signal.SIGTERM)
        run.send(signal.SIGINT)

    assert run.status == 1


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ([signal.SIGTERM], 0),
        ([signal.SIGINT], 0),
        ([signal.SIGTERM, signal.SIGINT], 1),
        # Sent to the process and to its group.
        ([signal.SIGTERM, signal.SIGTERM], 0),
    ],
)
async def test_signal_that_comes_before_the_first_job_is_followed(
    means: Means, numbers: list[int], status: int
) -> None:
    run = Run(means, configure(SLEEP))
    for number in numbers:
        run.send(number)

    await run.be()

    assert run.status == status


async def test_same_signal_counts_twice_after_a_moment(
    means: Means, autojump_clock: MockClock
) -> None:
    run = Run(means, configure(STUBBORN, grace=3600.0, **wait_for_line("ready")))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web", State.RUNNING)
        run.send(signal.SIGTERM)
        await trio.sleep(0.2)
        run.send(signal.SIGTERM)

    assert run.status == 1


async def test_reload_replaces_what_has_changed(means: Means) -> None:
    run = Run(means, configure(SLEEP, name="same"), configure(SLEEP, name="old"))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("same", State.RUNNING)
        pid = run.supervisor.jobs["same"].pid
        run.rewrite(configure(SLEEP, name="same"), configure(SLEEP, name="new"))
        await run.reach("new", State.RUNNING)
        names = list(run.supervisor.jobs)
        same = run.supervisor.jobs["same"].pid == pid
        run.send(signal.SIGTERM)

    assert (names, same, run.status) == (["same", "new"], True, 0)


@pytest.mark.slow
async def test_job_that_ends_in_the_instant_of_a_reload_is_replaced_by_one_run(
    means: Means,
) -> None:
    def make_jobs(turn: int) -> list[JobConfig]:
        """Return one that ends at once, another one at each turn, and one that goes on."""
        return [configure(f"exit 0; {turn}", restart="never"), configure(SLEEP, name="same")]

    turns = 30
    run = Run(means, *make_jobs(0))

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.be)
            for turn in range(1, turns + 1):
                await run.reach("web", State.RUNNING, State.EXITED)
                await trio.sleep(turn * 0.0001)
                run.replace(*make_jobs(turn))
                await run.supervisor.reload()
            await run.reach("web", State.EXITED)
            run.send(signal.SIGTERM)

    assert (told(events, "job.started").count("web"), run.status) == (turns + 1, 0)
    ends = told(events, "job.exited").count("web") + told(events, "job.stopped").count("web")
    assert (ends, told(events, "job.started").count("same")) == (turns + 1, 1)


async def test_reload_that_leaves_nothing_to_run_ends_it(means: Means) -> None:
    run = Run(means, configure(SLEEP))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web", State.RUNNING)
        run.rewrite()

    assert run.status == 0


async def test_reload_that_mends_a_dependency_starts_those_who_were_skipped(means: Means) -> None:
    others = (
        configure(SLEEP, name="same"),
        configure(SLEEP, name="web", depends_on={"migrate": "completed"}),
        configure(SLEEP, name="proxy", depends_on={"web": "started"}),
    )
    run = Run(means, *others, configure("exit 1", name="migrate", kind="oneshot", restart="never"))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("same", State.RUNNING)
        await run.reach("proxy", State.STOPPED)
        run.rewrite(*others, configure("exit 0", name="migrate", kind="oneshot", restart="never"))
        await run.reach("proxy", State.RUNNING)
        run.send(signal.SIGTERM)

    assert run.status == 0


async def test_reload_leaves_those_skipped_whose_dependency_did_not_change(means: Means) -> None:
    others = (
        configure("exit 1", name="migrate", kind="oneshot", restart="never"),
        configure(SLEEP, name="web", depends_on={"migrate": "completed"}),
    )
    run = Run(means, *others, configure(SLEEP, name="other"))

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.be)
            await run.reach("web", State.STOPPED)
            run.rewrite(*others, configure("exec sleep 2000", name="other"))
            while told(events, "job.started").count("other") < 2:
                await trio.lowlevel.checkpoint()
            run.send(signal.SIGTERM)

    assert len(told(events, "job.skipped")) == 1


async def test_job_that_waits_for_one_that_is_replaced_waits_for_the_new_one(means: Means) -> None:
    web = configure(SLEEP, name="web", depends_on={"db": "ready"})
    never = {**wait_for_line("ready"), "name": "db"}
    run = Run(means, web, configure(SLEEP, **never))

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.be)
            while not told(events, "job.started"):
                await trio.lowlevel.checkpoint()
            run.rewrite(web, configure(f"echo ready; {SLEEP}", **never))
            await run.reach("web", State.RUNNING)
            run.send(signal.SIGTERM)

    assert told(events, "job.skipped") == []
    assert told(events, "job.started") == ["db", "db", "web"]


async def test_reload_gives_a_job_its_new_schedule(means: Means, autojump_clock: MockClock) -> None:
    run = Run(means, configure(SLEEP, kind="oneshot", schedule="0 0 1 1 *"))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        run.rewrite(configure("exit 9", critical=True, restart="never"))

    assert run.status == 9


async def test_critical_job_that_ends_while_a_reload_replaces_it_ends_nothing(
    means: Means,
) -> None:
    db = configure("mkfifo /tmp/go; read -r _ <>/tmp/go", name="db", critical=True)
    tie = {"db": "started"}
    web = configure(STUBBORN, name="web", grace=3600.0, depends_on=tie, **wait_for_line("ready"))
    run = Run(means, db, web)

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.be)
            await run.reach("web", State.RUNNING)
            run.rewrite(attrs.evolve(db, grace=1.0), attrs.evolve(web, grace=7.0, depends_on=tie))
            await run.reach("web", State.STOPPING)
            means.running["db"].send_signal(signal.SIGTERM)
            await run.reach("db", State.EXITED)
            run.supervisor.jobs["web"].kill()
            await run.reach("web", State.RUNNING)
            run.send(signal.SIGTERM)
            await run.reach("web", State.STOPPING)
            run.supervisor.jobs["web"].kill()

    (ended,) = (event for event in events if event["event"] == "job.exited")
    assert (ended["job"], ended["next"]) == ("db", "restart")
    assert ended["reason"] == "the file has changed"
    assert (told(events, "job.started"), run.status) == (["db", "web", "db", "web"], 0)


async def test_critical_job_on_a_schedule_that_has_ended_ends_nothing(
    means: Means, autojump_clock: MockClock
) -> None:
    keys = {"kind": "oneshot", "schedule": "@daily", "run_on_start": True, "critical": True}
    run = Run(means, configure("exit 0", **keys))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web", State.EXITED)
        await trio.testing.wait_all_tasks_blocked()
        is_ending = run.supervisor._ending
        run.send(signal.SIGTERM)

    assert (is_ending, run.status) == (None, 0)


async def test_job_is_not_run_between_its_stop_and_its_replacement(means: Means) -> None:
    stubborn = configure(STUBBORN, grace=3600.0, **wait_for_line("ready"))
    tie = {"web": "started"}  # they are replaced together
    clock = configure(SLEEP, name="clock", schedule="0 0 1 1 *", depends_on=tie)
    run = Run(means, stubborn, clock)

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web", State.RUNNING)
        run.rewrite(
            configure(SLEEP), configure("exit 9", name="clock", critical=True, restart="never")
        )
        await run.reach("web", State.STOPPING)
        run.supervisor.jobs["clock"].start()  # its time has come
        state = run.supervisor.jobs["clock"].life.state
        run.supervisor.jobs["web"].kill()

    assert (state, run.status) == (State.STOPPED, 9)


async def test_job_goes_on_waiting_for_one_that_a_reload_replaces(means: Means) -> None:
    never = configure(SLEEP, name="db", **wait_for_line("ready"))
    soon = configure(f"echo ready; {SLEEP}", name="db", **wait_for_line("ready"))
    web = configure(SLEEP, name="web", depends_on={"db": "ready"})
    run = Run(means, never, web)

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.be)
            while not told(events, "job.started"):
                await trio.lowlevel.checkpoint()
            run.rewrite(soon, web)
            await run.reach("web", State.RUNNING)
            run.send(signal.SIGTERM)

    assert not told(events, "job.skipped")


async def test_file_that_cannot_be_meant_changes_nothing(means: Means) -> None:
    run = Run(means, configure(SLEEP))

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.be)
            await run.reach("web", State.RUNNING)
            run.file = ConfigError(["/jobs.toml:1: unknown key"])
            run.send(signal.SIGHUP)
            while not told(events, "config.rejected"):
                await trio.lowlevel.checkpoint()
            state = run.supervisor.jobs["web"].life.state
            run.send(signal.SIGTERM)

    assert state is State.RUNNING


async def test_stop_interrupts_a_reload(means: Means) -> None:
    stubborn = configure(STUBBORN, grace=3600.0, **wait_for_line("ready"))
    run = Run(means, stubborn)

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.be)
            await run.reach("web", State.RUNNING)
            run.rewrite(configure(SLEEP, name="new"))
            await run.reach("web", State.STOPPING)
            run.send(signal.SIGTERM)
            run.send(signal.SIGINT)

    assert (run.status, told(events, "job.started")) == (1, ["web"])


async def test_job_that_stops_slowly_holds_up_no_other_that_is_replaced(means: Means) -> None:
    slow = {"grace": 3600.0, "name": "slow", **wait_for_line("ready")}
    run = Run(means, configure(STUBBORN, **slow), configure(SLEEP, name="web"))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("slow", State.RUNNING)
        await run.reach("web", State.RUNNING)
        run.rewrite(configure(SLEEP, **slow), configure("exec sleep 2000", name="web"))
        await run.reach("web", State.STOPPING)
        await run.reach("web", State.RUNNING)
        state = run.supervisor.jobs["slow"].life.state
        run.send(signal.SIGTERM)
        run.send(signal.SIGINT)

    assert state is State.STOPPING


async def test_states_of_all_jobs_are_told(means: Means) -> None:
    run = Run(
        means,
        configure(SLEEP, name="web"),
        configure("exit 1", name="db", restart="never"),
        configure("exit 1", name="cache", backoff=Backoff(initial=3600, max=3600)),
    )

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.be)
            await run.reach("web", State.RUNNING)
            await run.reach("db", State.EXITED)
            await run.reach("cache", State.BACKOFF)
            run.send(signal.SIGQUIT)
            run.send(signal.SIGTERM)

    states = {e["job"]: e["state"] for e in events if e["event"] == "job.state"}
    assert states == {"web": "RUNNING", "db": "EXITED", "cache": "BACKOFF"}


async def test_reload_is_waited_for_until_it_is_carried_out(means: Means) -> None:
    run = Run(means, configure(SLEEP, name="old"), configure(SLEEP, name="web"))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web", State.RUNNING)
        run.replace(configure("exec sleep 2000", name="web"), configure(SLEEP, name="new"))
        changes = await run.supervisor.reload()
        jobs = set(run.supervisor.jobs)
        run.send(signal.SIGTERM)

    assert (changes.added, changes.removed) == (("new",), ("old",))
    assert changes.changed == {"web": ("command",)}
    assert jobs == {"web", "new"}


async def test_all_who_ask_for_a_reload_are_answered(means: Means) -> None:
    run = Run(means, configure(SLEEP))
    added = []

    async def reload() -> None:
        added.append((await run.supervisor.reload()).added)

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web", State.RUNNING)
        run.replace(configure(SLEEP), configure(SLEEP, name="new"))
        async with trio.open_nursery() as asking:
            for _ in range(10):
                asking.start_soon(reload)
        run.send(signal.SIGTERM)

    assert added == [("new",)] * 10


async def test_plan_of_a_reload_changes_nothing(means: Means) -> None:
    run = Run(means, configure(SLEEP))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web", State.RUNNING)
        run.replace(configure(SLEEP, name="new"))
        changes = await run.supervisor.plan_reload()
        state, jobs = run.supervisor.jobs["web"].life.state, list(run.supervisor.jobs)
        run.send(signal.SIGTERM)

    assert (changes.added, changes.removed) == (("new",), ("web",))
    assert (state, jobs) == (State.RUNNING, ["web"])


async def test_who_asks_for_a_reload_is_told_of_mistakes(means: Means) -> None:
    run = Run(means, configure(SLEEP))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web", State.RUNNING)
        run.file = ConfigError(["/jobs.toml:1: unknown key"])
        with pytest.raises(ConfigError, match="unknown key"):
            await run.supervisor.reload()
        run.send(signal.SIGTERM)


async def test_who_waits_for_a_reload_is_told_that_the_supervisor_stops(means: Means) -> None:
    stubborn = configure(STUBBORN, grace=3600.0, **wait_for_line("ready"))
    run = Run(means, stubborn)
    told = []

    async def reload() -> None:
        with pytest.raises(NoTurnError):
            await run.supervisor.reload()
        told.append(run.status)

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web", State.RUNNING)
        run.replace(configure(SLEEP, name="new"))
        nursery.start_soon(reload)
        await run.reach("web", State.STOPPING)
        nursery.start_soon(reload)
        await trio.testing.wait_all_tasks_blocked()
        run.send(signal.SIGTERM)
        run.send(signal.SIGINT)

    assert told == [None, None]  # before the jobs were gone


def make_replicas(count: int) -> list[JobConfig]:
    return [configure(SLEEP, name=f"web-{n}", group="web") for n in range(1, count + 1)]


async def test_replicas_that_stay_go_on_when_their_number_is_another_one(means: Means) -> None:
    run = Run(means, *make_replicas(2))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web-1", State.RUNNING)
        jobs = run.supervisor.jobs
        first = jobs["web-1"].pid
        more = await run.supervisor.scale({"web": 4})
        await run.reach("web-4", State.RUNNING)
        fewer = await run.supervisor.scale({"web": 1})
        left = {name: job.pid for name, job in jobs.items()}
        run.send(signal.SIGTERM)

    assert (more.added, fewer.removed) == (("web-3", "web-4"), ("web-2", "web-3", "web-4"))
    assert left == {"web-1": first}


async def test_who_depends_on_replicas_runs_on_and_waits_for_those_that_there_are(
    means: Means,
) -> None:
    ties = {"web-1": "ready", "web-2": "ready"}
    run = Run(means, *make_replicas(2), configure(SLEEP, name="front", depends_on=ties))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("front", State.RUNNING)
        front = run.supervisor.jobs["front"]
        pid = front.pid
        await run.supervisor.scale({"web": 1})
        fewer = dict(front.config.depends_on)
        await run.supervisor.scale({"web": 3})
        same = front.pid == pid
        run.send(signal.SIGTERM)

    assert fewer == {"web-1": "ready"}
    assert list(front.config.depends_on) == ["web-1", "web-2", "web-3"]
    assert same


async def test_job_waits_no_longer_for_a_replica_that_is_removed(means: Means) -> None:
    never = configure(SLEEP, name="web-2", group="web", **wait_for_line("ready"))
    ties = {"web-1": "ready", "web-2": "ready"}
    run = Run(means, *make_replicas(1), never, configure(SLEEP, name="front", depends_on=ties))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web-1", State.RUNNING)
        await run.supervisor.scale({"web": 1})
        await run.reach("front", State.RUNNING)
        run.send(signal.SIGTERM)


async def test_reload_of_the_same_file_keeps_the_number_of_replicas(means: Means) -> None:
    run = Run(means, *make_replicas(2))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.supervisor.scale({"web": 3})
        same = await run.supervisor.reload()
        run.replace(*make_replicas(1))
        other = await run.supervisor.reload()
        run.send(signal.SIGTERM)

    assert same.unchanged == ("web-1", "web-2", "web-3")
    assert other.removed == ("web-2", "web-3")


async def test_number_that_cannot_be_changes_nothing(means: Means) -> None:
    run = Run(means, *make_replicas(2))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        with pytest.raises(ScaleError):
            await run.supervisor.scale({"web": 3, "nope": 1})
        jobs = list(run.supervisor.jobs)
        run.send(signal.SIGTERM)

    assert jobs == ["web-1", "web-2"]


async def test_job_that_somebody_has_stopped_keeps_the_supervisor(means: Means) -> None:
    run = Run(means, configure(SLEEP, name="web"), configure("exit 0", name="once"))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("once", State.EXITED)
        await run.reach("web", State.RUNNING)
        run.supervisor.jobs["web"].stop()
        await run.reach("web", State.STOPPED)
        run.supervisor.jobs["web"].start()
        await run.reach("web", State.RUNNING)
        status = run.status
        run.send(signal.SIGTERM)

    assert (status, run.status) == (None, 0)


async def test_supervisor_ends_once_what_was_stopped_has_ended_by_itself(means: Means) -> None:
    run = Run(means, configure("read x < /stop || exit 0; sleep 1000", name="web"))

    async with trio.open_nursery() as nursery:
        await nursery.start(run.be)
        await run.reach("web", State.STARTING)
        run.supervisor.jobs["web"].stop()
        await run.reach("web", State.STOPPED)
        run.supervisor.jobs["web"].start()

    assert run.status == 0


async def test_jobs_stop_in_order_when_somebody_asks_for_that(means: Means) -> None:
    run = Run(
        means,
        configure(SLEEP, name="db"),
        configure(SLEEP, name="web", depends_on={"db": "started"}),
    )

    with capture_logs() as events:
        async with trio.open_nursery() as nursery:
            await nursery.start(run.be)
            await run.reach("web", State.RUNNING)
            jobs = run.supervisor.jobs.values()
            run.supervisor.stops.give(list(jobs), jobs)
            await run.reach("db", State.STOPPED)
            run.send(signal.SIGTERM)

    assert told(events, "job.stopped") == ["web", "db"]
