"""What comes of requests that contradict each other, of jobs that a test moves."""

from collections.abc import Callable, Iterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mocker.supervisor.control.actions import (
    ACTIONS,
    OTHERS_WISH,
    Action,
    Deed,
    Outcome,
    parse_signal,
)
from mocker.supervisor.control.problems import RequestError
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from mocker.supervisor.runs import Means
from mocker.supervisor.stop_orders import StopOrders
from tests.containers import in_container
from tests.requirements import requires_root
from tests.supervisor.cgroup_world import make_means_with_cgroups
from tests.supervisor.control.control_world import Puppet, wait_for_nothing
from tests.supervisor.job_world import configure, make_means, reach, surroundings

SOMEBODY = "somebody else asked for that"
Jobs = dict[str, Puppet]


@pytest.fixture
def means() -> Iterator[Means]:
    with make_means() as means:
        yield means


def make_jobs(means: Means, **graph: str) -> Jobs:
    """Make jobs that run, and depend on others, named by one letter each."""
    jobs = {
        name: Puppet(means, name, dict.fromkeys(needed, "started"))
        for name, needed in graph.items()
    }
    for job in jobs.values():
        job.bring(State.RUNNING)
    return jobs


class World:
    """Jobs, and those who want something of them.

    Attributes:
        outcomes: What each was told, in order.
    """

    def __init__(self, jobs: Jobs, nursery: trio.Nursery) -> None:
        self.jobs, self._nursery = jobs, nursery
        self.stops = StopOrders()
        self.outcomes: list[Outcome] = []
        nursery.start_soon(self.stops.run)

    async def act(
        self, name: str, jobs: str = "a", *, wait: bool = True, force: bool = False
    ) -> None:
        """Begin something with jobs, and let it go as far as it goes."""
        await wait_all_tasks_blocked()
        deed = Deed(
            Action(name=name, wait=wait, force=force),
            [self.jobs[job] for job in jobs],
            list(self.jobs.values()),
            self.stops,
            {},
        )
        self._nursery.start_soon(deed.follow, self._tell)
        await wait_all_tasks_blocked()

    async def _tell(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


async def play(jobs: Jobs, *steps: tuple[str, ...] | Callable[[], None]) -> World:
    """Do one thing after the other: what somebody wants, or what happens."""
    async with trio.open_nursery() as nursery:
        world = World(jobs, nursery)
        for step in steps:
            if callable(step):
                await wait_all_tasks_blocked()
                step()
            else:
                await world.act(*step)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return world


STATES = {
    State.STOPPED: ("started", "already stopped", "restarted"),
    State.STARTING: ("started", "stopped", "restarted"),
    State.RUNNING: ("already started", "stopped", "restarted"),
    State.BACKOFF: ("started", "stopped", "restarted"),
    State.STOPPING: ("started", "stopped", "restarted"),
    State.EXITED: ("started", "already stopped", "restarted"),
    State.FATAL: ("started", "already stopped", "restarted"),
}


def test_every_state_is_thought_of() -> None:
    assert set(STATES) == set(State)


def finish(job: Puppet) -> None:
    """Let everything that is under way come to its end."""
    if job.life.state is State.STOPPING:
        job.end()
    if job.life.state is State.STARTING:
        job.become_ready()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("number", "name"), list(enumerate(["start", "stop", "restart"])))
async def test_each_action_has_its_outcome_in_each_state(
    means: Means, state: State, number: int, name: str
) -> None:
    job = Puppet(means, "a")
    job.bring(state)

    world = await play({"a": job}, (name,), lambda: finish(job))

    assert world.outcomes == [Outcome("a", STATES[state][number])]
    if name != "stop":
        assert job.life.state is State.RUNNING
    else:
        assert job.life.at_rest


async def test_stop_ends_a_schedule_until_a_start(means: Means) -> None:
    job = Puppet(means, "a", schedule="@daily")

    world = await play({"a": job}, ("stop",), ("stop",))
    was_suspended = job.is_suspended
    await play({"a": job}, ("start",), lambda: finish(job))

    assert world.outcomes == [Outcome("a", "stopped"), Outcome("a", "already stopped")]
    assert (was_suspended, job.is_suspended) == (True, False)


@pytest.mark.parametrize("state", [State.STOPPED, State.RUNNING])
async def test_kill_ends_the_schedule_of_what_runs(means: Means, state: State) -> None:
    job = Puppet(means, "a", schedule="@daily")
    job.bring(state)

    await play({"a": job}, ("kill",), lambda: finish(job))

    assert job.is_suspended is (state is State.RUNNING)


@pytest.mark.parametrize("state", State)
async def test_kill_needs_something_to_be_killed(means: Means, state: State) -> None:
    job = Puppet(means, "a")
    job.bring(state)
    is_there = not job.life.at_rest

    world = await play({"a": job}, ("kill",), lambda: finish(job))

    outcome = "killed" if is_there else "not running"
    assert world.outcomes == [Outcome("a", outcome, ok=is_there)]


@pytest.mark.parametrize(
    ("name", "outcome"),
    [("start", "already started"), ("stop", "stopping"), ("restart", "restarting")],
)
async def test_who_does_not_wait_is_told_at_once(means: Means, name: str, outcome: str) -> None:
    jobs = make_jobs(means, a="")

    async with trio.open_nursery() as nursery:
        world = World(jobs, nursery)
        await world.act(name, wait=False)
        nursery.cancel_scope.cancel()

    assert world.outcomes == [Outcome("a", outcome)]


async def test_twenty_restarts_at_once_are_one(means: Means) -> None:
    jobs = make_jobs(means, a="")

    world = await play(jobs, *[("restart",)] * 20, lambda: finish(jobs["a"]))

    assert world.outcomes == [Outcome("a", "restarted")] * 20


async def test_stop_during_a_restart_wins(means: Means) -> None:
    jobs = make_jobs(means, a="")

    world = await play(jobs, ("restart",), ("stop",), jobs["a"].end)

    assert jobs["a"].life.state is State.STOPPED
    stopped, told = sorted(world.outcomes, key=lambda outcome: not outcome.ok)
    assert (stopped, told) == (
        Outcome("a", "stopped"),
        Outcome("a", "stopped", ok=False, reason=SOMEBODY),
    )


async def test_start_during_a_stop_is_a_restart(means: Means) -> None:
    jobs = make_jobs(means, a="")

    world = await play(jobs, ("stop",), ("start",), lambda: finish(jobs["a"]))

    assert world.outcomes == [
        Outcome("a", "started again", ok=False, reason=SOMEBODY),
        Outcome("a", "started"),
    ]


async def test_start_takes_back_a_stop_that_waits_for_others(means: Means) -> None:
    jobs = make_jobs(means, a="", b="a")

    world = await play(jobs, ("stop", "ab"), ("start", "a"), jobs["b"].end)

    assert jobs["a"].life.state is State.RUNNING
    assert sorted(world.outcomes, key=lambda outcome: outcome.outcome) == [
        Outcome("a", "already started"),
        Outcome("a", "not stopped", ok=False, reason=SOMEBODY),
        Outcome("b", "stopped"),
    ]


async def test_jobs_stop_in_order_and_are_told_of_one_by_one(means: Means) -> None:
    jobs = make_jobs(means, a="", b="a")

    world = await play(jobs, ("stop", "ab"), jobs["b"].end)

    assert (world.outcomes, jobs["a"].life.state) == ([Outcome("b", "stopped")], State.STOPPING)


@pytest.mark.parametrize(
    ("graph", "asked", "needing"),
    [
        ({"a": "", "b": "a"}, "a", ("b",)),
        ({"a": "", "b": "a", "c": "b"}, "a", ("b", "c")),
        ({"a": "", "b": "a", "c": "b"}, "ab", ("c",)),
        ({"a": "", "b": "a", "c": "a"}, "ab", ("c",)),
    ],
)
async def test_stop_of_what_others_need_is_refused(
    means: Means, graph: dict[str, str], asked: str, needing: tuple[str, ...]
) -> None:
    jobs = make_jobs(means, **graph)

    with pytest.raises(RequestError) as caught:
        Deed(
            Action(name="stop"),
            [jobs[name] for name in asked],
            list(jobs.values()),
            StopOrders(),
            {},
        )

    assert (caught.value.code, caught.value.jobs) == ("needed", needing)
    assert {job.life.state for job in jobs.values()} == {State.RUNNING}


async def test_stop_of_what_others_need_can_be_forced(means: Means) -> None:
    jobs = make_jobs(means, a="", b="a")
    action = Action(name="stop", force=True)

    Deed(action, [jobs["a"]], list(jobs.values()), StopOrders(), {})

    assert [job.life.state for job in jobs.values()] == [State.STOPPING, State.RUNNING]


@pytest.mark.parametrize("state", [State.STOPPED, State.EXITED, State.FATAL, State.STOPPING])
async def test_who_does_not_run_needs_nothing(means: Means, state: State) -> None:
    jobs = {"a": Puppet(means, "a"), "b": Puppet(means, "b", {"a": "started"})}
    jobs["a"].bring(State.RUNNING)
    jobs["b"].bring(state)

    world = await play(jobs, ("stop",), jobs["b"].end, lambda: finish(jobs["a"]))

    assert world.outcomes == ([Outcome("a", "stopped")])


async def test_what_has_ended_is_not_needed(means: Means) -> None:
    jobs = {"a": Puppet(means, "a"), "b": Puppet(means, "b", {"a": "completed"})}
    jobs["a"].bring(State.EXITED)
    jobs["b"].bring(State.RUNNING)

    world = await play(jobs, ("stop",))

    assert world.outcomes == [Outcome("a", "already stopped")]


async def test_start_that_fails_says_how(means: Means) -> None:
    job = Puppet(means, "a")

    world = await play({"a": job}, ("start",), lambda: job.end(3))

    reason = "it ended: exit code 3"
    assert world.outcomes == [Outcome("a", "not started", ok=False, reason=reason)]


async def test_run_that_nobody_asks_has_to_go_on_for_a_second(
    means: Means, autojump_clock: MockClock
) -> None:
    job = Puppet(means, "a", ready=None)
    told = list[tuple[str, float]]()

    async def tell(outcome: Outcome) -> None:
        told.append((outcome.outcome, trio.current_time() - began))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Deed(Action(name="start"), [job], [job], StopOrders(), {}).follow, tell)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        job.become_ready()

    ((outcome, took),) = told
    assert outcome == "started"
    assert took == pytest.approx(1)


@pytest.mark.parametrize(
    ("restart", "code", "outcome"),
    [
        ("never", 3, "not started"),
        ("on-failure", 3, "not started"),
        ("always", 0, "started"),
        ("never", 0, "completed"),
    ],
)
async def test_run_that_nobody_asks_and_that_ends_soon_has_its_outcome(
    means: Means, restart: str, code: int, outcome: str
) -> None:
    job = Puppet(means, "a", ready=None, restart=restart)

    world = await play({"a": job}, ("start",), job.become_ready, lambda: job.end(code))

    reason = f"it ended: exit code {code}" if outcome == "not started" else ""
    assert world.outcomes == [Outcome("a", outcome, ok=not reason, reason=reason)]


async def test_run_that_fails_soon_has_not_started_however_long_its_output_takes(
    means: Means, autojump_clock: MockClock
) -> None:
    job = Puppet(means, "a", ready=None, restart="never")
    told = list[Outcome]()

    async def tell(outcome: Outcome) -> None:
        told.append(outcome)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Deed(Action(name="start"), [job], [job], StopOrders(), {}).follow, tell)
        await wait_all_tasks_blocked()
        job.become_ready()
        await trio.sleep(0.9)
        job.leave()
        await trio.sleep(0.9)
        meanwhile = list(told)
        job.end(3)

    reason = "it ended: exit code 3"
    assert meanwhile == []
    assert told == [Outcome("a", "not started", ok=False, reason=reason)]


async def test_start_is_told_though_what_the_run_has_printed_is_never_written(
    means: Means, autojump_clock: MockClock
) -> None:
    job = Puppet(means, "a", ready=None, restart="never")
    told = list[str]()

    async def tell(outcome: Outcome) -> None:
        told.append(outcome.outcome)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Deed(Action(name="start"), [job], [job], StopOrders(), {}).follow, tell)
        await wait_all_tasks_blocked()
        job.become_ready()
        job.leave()

    assert told == ["started"]
    assert trio.current_time() == pytest.approx(6, abs=0.1)


async def test_start_that_is_stopped_in_the_last_instant_says_so(
    means: Means, autojump_clock: MockClock
) -> None:
    job = Puppet(means, "a", ready=None)
    told = list[Outcome]()

    async def tell(outcome: Outcome) -> None:
        told.append(outcome)

    for _ in range(20):
        async with trio.open_nursery() as nursery:
            deed = Deed(Action(name="start"), [job], [job], StopOrders(), {})
            nursery.start_soon(deed.follow, tell)
            await wait_all_tasks_blocked()
            job.become_ready()
            await trio.sleep(1)
            job.stop()
            await wait_all_tasks_blocked()
            job.end()

    reasons = {(outcome.outcome, outcome.reason) for outcome in told}
    assert reasons <= {("started", ""), ("stopped", OTHERS_WISH)}


def test_only_what_others_wait_for_may_last() -> None:
    assert [name for name in ACTIONS if not Action(name=name).may_last] == ["resume", "signal"]


async def test_start_of_what_is_given_up_says_why(means: Means) -> None:
    job = Puppet(means, "a", permanent_codes=frozenset({3}))

    world = await play({"a": job}, ("start",), lambda: job.end(3))

    reason = "exit code 3 is permanent"
    assert world.outcomes == [Outcome("a", "not started", ok=False, reason=reason)]


async def test_start_that_waits_in_vain_is_skipped(means: Means) -> None:
    job = Puppet(means, "a")

    world = await play({"a": job}, ("start",), lambda: job.skip("db will not be ready"))

    assert world.outcomes == [Outcome("a", "skipped", ok=False, reason="db will not be ready")]


async def test_job_that_ends_well_before_anybody_looks_is_completed(means: Means) -> None:
    job = Puppet(means, "a", kind="oneshot")

    def run() -> None:
        job.become_ready()
        job.end()

    world = await play({"a": job}, ("start",), run)

    assert world.outcomes == [Outcome("a", "completed")]


@pytest.mark.parametrize("name", ["start", "restart"])
async def test_nothing_starts_at_the_end(means: Means, name: str) -> None:
    jobs = make_jobs(means, a="")
    jobs["a"].retire()

    world = await play(jobs, (name,))

    ((outcome, ok),) = [(outcome.outcome, outcome.ok) for outcome in world.outcomes]
    assert (outcome, ok) == (f"not {name}ed", False)
    assert jobs["a"].life.state is State.RUNNING


async def test_start_that_the_end_interrupts_says_so(means: Means) -> None:
    job = Puppet(means, "a")

    def end() -> None:
        job.retire()
        job.end()

    world = await play({"a": job}, ("start",), end)

    ((ok, reason),) = [(outcome.ok, outcome.reason) for outcome in world.outcomes]
    assert (ok, "the supervisor is stopping" in reason) == (False, True)


async def test_stop_at_the_end_is_waited_for(means: Means) -> None:
    jobs = make_jobs(means, a="")
    jobs["a"].retire()

    world = await play(jobs, ("stop",), jobs["a"].end)

    assert world.outcomes == [Outcome("a", "stopped")]


async def test_who_goes_away_changes_nothing(means: Means) -> None:
    jobs = make_jobs(means, a="", b="a")
    stops = StopOrders()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stops.run)
        await wait_all_tasks_blocked()
        deed = Deed(Action(name="stop"), list(jobs.values()), list(jobs.values()), stops, {})
        with trio.CancelScope() as scope:
            scope.cancel()
            await deed.follow(tell_nobody)
        jobs["b"].end()
        await wait_all_tasks_blocked()
        state = jobs["a"].life.state
        nursery.cancel_scope.cancel()

    assert state is State.STOPPING


async def tell_nobody(_: Outcome) -> None:
    raise AssertionError("nobody listens")


async def test_signal_to_what_does_not_run_is_not_sent(means: Means) -> None:
    job = Puppet(means, "a")

    world = await play({"a": job}, ("signal",))

    assert world.outcomes == [Outcome("a", "not running", ok=False)]


@pytest.mark.parametrize("action", ["pause", "resume"])
async def test_what_does_not_run_is_neither_paused_nor_resumed(means: Means, action: str) -> None:
    world = await play({"a": Puppet(means, "a")}, (action,))

    assert world.outcomes == [Outcome("a", "not running", ok=False)]


async def act_on_one(means: Means, *actions: str) -> list[Outcome]:
    """Do one thing after the other with a job that runs."""
    job = Job(configure("exec sleep 1000", name="a"), means, wait_for_nothing, lambda _: None)
    outcomes = list[Outcome]()

    async def remember(outcome: Outcome) -> None:
        outcomes.append(outcome)

    async with surroundings(means) as nursery:
        nursery.start_soon(job.run)
        job.start()
        await reach(job, State.RUNNING)
        for action in actions:
            deed = Deed(Action(name=action), [job], [job], StopOrders(), means.running)
            await deed.follow(remember)
        job.kill()
        await job.wait_at_rest()
    return outcomes


@requires_root
@in_container
async def test_job_is_paused_and_resumed_once() -> None:
    with make_means_with_cgroups() as means:
        outcomes = await act_on_one(means, "pause", "pause", "start", "resume", "resume")

    reason = "it is paused; 'mocker resume a' ends that"
    assert outcomes == [
        Outcome("a", "paused"),
        Outcome("a", "already paused"),
        Outcome("a", "not started", ok=False, reason=reason),
        Outcome("a", "resumed"),
        Outcome("a", "already running"),
    ]


@in_container
async def test_job_without_a_cgroup_is_not_paused(means: Means) -> None:
    means.cgroups._are_everybodys = False

    (outcome,) = await act_on_one(means, "pause")

    assert (outcome.outcome, outcome.ok) == ("not paused", False)
    assert outcome.reason.startswith("cannot freeze it; its container has no cgroup of its own")


@pytest.mark.parametrize(
    ("text", "number"),
    [("HUP", 1), ("SIGHUP", 1), ("hup", 1), ("1", 1), ("15", 15), ("35", 35), ("RTMIN+3", 37)],
)
def test_signal_is_named_or_numbered(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "65", "9" * 5000, "FOO", "SIG", "SIG_DFL", "KILL", "9", "STOP", "CHLD"]
)
def test_signal_that_cannot_be_sent_is_refused(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_signal(text)

    assert (caught.value.code, len(str(caught.value)) < 100) == ("no-such-signal", True)
