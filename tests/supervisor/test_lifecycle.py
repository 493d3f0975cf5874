"""The restart rules: what becomes of a job when something happens to it."""

from collections.abc import Callable, Sequence
from functools import reduce
from signal import SIGINT, SIGKILL, SIGSEGV, SIGTERM

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation import ExitStatus
from mocker.supervisor import lifecycle
from mocker.supervisor.config import Backoff, ContainerConfig, GiveUp, JobConfig
from mocker.supervisor.lifecycle import After, Life, State

Change = Callable[[Life], Life]

SUCCESS = ExitStatus(code=0)
FAILURE = ExitStatus(code=1)
NOT_FOUND = ExitStatus(code=127)

STOPPED = Life()
STARTING = lifecycle.ask_start(STOPPED)
EXECUTED = lifecycle.execute(STARTING, 0.0)
RUNNING = lifecycle.become_ready(EXECUTED, 0.0)


def job(**fields: object) -> JobConfig:
    """Return a job whose rules come from a table."""
    container = ContainerConfig(argv=("true",), rootfs="busybox", hostname="web")
    return JobConfig(**{"name": "web", "group": "web", "container": container, **fields})  # type: ignore[arg-type]


def end(
    life: Life,
    rules: JobConfig,
    status: ExitStatus = FAILURE,
    *,
    at: float = 0.0,
    chance: float = 0,
) -> Life:
    return lifecycle.end_run(life, rules, status, at, chance)


def run_again(life: Life, rules: JobConfig, uptime: float = 0.0) -> Life:
    """Let the wait pass, and the next run fail after so many seconds."""
    begun = lifecycle.execute(lifecycle.end_wait(life), life.retry_at)
    return end(lifecycle.become_ready(begun, life.retry_at), rules, at=life.retry_at + uptime)


def fail_times(rules: JobConfig, count: int, uptime: float = 0.0) -> list[Life]:
    """Return the lives after each of several failing runs."""
    lives = [end(RUNNING, rules, at=uptime)]
    while len(lives) < count:
        lives.append(run_again(lives[-1], rules, uptime))
    return lives


BACKOFF = end(RUNNING, job())
STOPPING = lifecycle.ask_stop(RUNNING)
RESTARTING = lifecycle.ask_start(STOPPING)
DYING = lifecycle.find_dead(RUNNING, "no answer")
EXITED = end(RUNNING, job(), SUCCESS)
FATAL = end(RUNNING, job(permanent_codes=frozenset({1})))


@pytest.mark.parametrize(
    ("life", "state"),
    [
        (STOPPED, State.STOPPED),
        (STARTING, State.STARTING),
        (EXECUTED, State.STARTING),
        (RUNNING, State.RUNNING),
        (BACKOFF, State.BACKOFF),
        (STOPPING, State.STOPPING),
        (RESTARTING, State.STOPPING),
        (DYING, State.STOPPING),
        (EXITED, State.EXITED),
        (FATAL, State.FATAL),
    ],
)
def test_each_state_is_reached(life: Life, state: State) -> None:
    assert life.state is state


@pytest.mark.parametrize(
    ("life", "then"),
    [
        (STOPPED, State.STARTING),
        (STARTING, State.STARTING),
        (RUNNING, State.RUNNING),
        (BACKOFF, State.STARTING),
        (STOPPING, State.STOPPING),
        (EXITED, State.STARTING),
        (FATAL, State.STARTING),
    ],
)
def test_asking_for_a_start_starts_what_does_not_run(life: Life, then: State) -> None:
    assert lifecycle.ask_start(life).state is then


@pytest.mark.parametrize(
    ("life", "then"),
    [
        (STOPPED, State.STOPPED),
        (STARTING, State.STOPPING),
        (EXECUTED, State.STOPPING),
        (RUNNING, State.STOPPING),
        (BACKOFF, State.STOPPED),  # at once: there is nothing to wait for
        (RESTARTING, State.STOPPING),
        (EXITED, State.EXITED),
        (FATAL, State.FATAL),
    ],
)
def test_asking_for_a_stop_stops_what_runs_or_waits(life: Life, then: State) -> None:
    assert lifecycle.ask_stop(life).state is then


def test_what_cannot_be_had_is_not_tried_again() -> None:
    life = lifecycle.refuse(STARTING, "no such thing here")

    assert (life.state, life.reason, life.succeeded) == (State.FATAL, "no such thing here", False)


@pytest.mark.parametrize("life", [STOPPED, RUNNING, STOPPING, EXITED])
def test_what_cannot_be_had_is_of_no_interest_to_what_does_not_start(life: Life) -> None:
    assert lifecycle.refuse(life, "no such thing here") is life


@pytest.mark.parametrize("life", [STARTING, EXECUTED, RUNNING, STOPPING, DYING])
def test_restart_of_what_runs_stops_it_first(life: Life) -> None:
    asked = lifecycle.ask_start(lifecycle.ask_stop(life))

    assert (asked.state, end(asked, job(restart="never")).state) == (State.STOPPING, State.STARTING)


@pytest.mark.parametrize("life", [STOPPED, BACKOFF, EXITED, FATAL])
def test_restart_of_what_does_not_run_starts_it(life: Life) -> None:
    assert lifecycle.ask_start(lifecycle.ask_stop(life)).state is State.STARTING


def test_stop_wins_over_a_restart_under_way() -> None:
    assert end(lifecycle.ask_stop(RESTARTING), job()).state is State.STOPPED


def test_start_during_a_stop_follows_it() -> None:
    assert end(lifecycle.ask_start(STOPPING), job()).state is State.STARTING


@pytest.mark.parametrize("status", [SUCCESS, FAILURE, ExitStatus(signal=SIGKILL)])
def test_job_that_was_stopped_has_not_failed_whatever_its_status(status: ExitStatus) -> None:
    stopped = end(STOPPING, job(restart="always", permanent_codes=frozenset({1})), status)

    assert (stopped.state, stopped.succeeded) == (State.STOPPED, None)


@pytest.mark.parametrize(
    ("fields", "status", "then"),
    [
        ({"restart": "always"}, SUCCESS, State.BACKOFF),
        ({"restart": "always"}, FAILURE, State.BACKOFF),
        ({"restart": "on-failure"}, SUCCESS, State.EXITED),
        ({"restart": "on-failure"}, FAILURE, State.BACKOFF),
        ({"restart": "never"}, SUCCESS, State.EXITED),
        ({"restart": "never"}, FAILURE, State.EXITED),
        ({"restart": "on-failure", "success_codes": frozenset({0, 1})}, FAILURE, State.EXITED),
        ({"restart": "on-failure", "success_codes": frozenset({1})}, SUCCESS, State.BACKOFF),
        ({"restart": "always", "permanent_codes": frozenset({1})}, FAILURE, State.FATAL),
        ({"restart": "never", "permanent_codes": frozenset({1})}, FAILURE, State.FATAL),
        ({"kind": "oneshot", "restart": "never"}, SUCCESS, State.EXITED),
        ({"kind": "oneshot", "restart": "always"}, SUCCESS, State.EXITED),
        ({"kind": "oneshot", "restart": "on-failure"}, FAILURE, State.BACKOFF),
    ],
)
def test_rules_say_what_follows_an_end(
    fields: dict[str, object], status: ExitStatus, then: State
) -> None:
    assert end(RUNNING, job(**fields), status).state is then


@pytest.mark.parametrize("number", [SIGTERM, SIGINT, SIGSEGV, SIGKILL])
def test_end_by_any_signal_is_a_failure(number: int) -> None:
    assert end(RUNNING, job(), ExitStatus(signal=number)).state is State.BACKOFF


@pytest.mark.parametrize(("status", "well"), [(SUCCESS, True), (FAILURE, False)])
def test_job_that_is_not_run_again_remembers_how_it_ended(status: ExitStatus, well: bool) -> None:
    assert end(RUNNING, job(restart="never"), status).succeeded is well


def test_job_that_exits_at_once_before_it_is_ready_is_never_running() -> None:
    assert end(EXECUTED, job()).state is State.BACKOFF


def test_oneshot_that_ends_well_in_five_milliseconds_is_done() -> None:
    ended = end(EXECUTED, job(kind="oneshot", restart="on-failure"), SUCCESS, at=0.005)

    assert (ended.state, ended.succeeded) == (State.EXITED, True)


def test_start_that_was_refused_is_tried_again() -> None:
    assert end(STARTING, job(), NOT_FOUND).state is State.BACKOFF


def test_start_that_was_refused_is_no_success_whatever_its_code() -> None:
    assert end(STARTING, job(success_codes=frozenset({127})), NOT_FOUND).state is State.BACKOFF


@pytest.mark.parametrize(
    "fields", [{"restart": "never"}, {"permanent_codes": frozenset({127})}], ids=str
)
def test_start_that_was_refused_and_is_not_tried_again_is_given_up(
    fields: dict[str, object],
) -> None:
    given_up = end(STARTING, job(**fields), NOT_FOUND)

    assert (given_up.state, given_up.succeeded) == (State.FATAL, False)


def test_waits_grow_to_their_bound() -> None:
    lives = fail_times(job(backoff=Backoff(initial=0.5, factor=2, max=4)), 6)

    assert [life.delay for life in lives] == [0.5, 1, 2, 4, 4, 4]


def test_waits_grow_for_a_job_that_lives_a_while_before_each_crash() -> None:
    lives = fail_times(job(), 4, uptime=2)

    assert [life.delay for life in lives] == [0.5, 1, 2, 4]


def test_counters_start_anew_after_a_long_run() -> None:
    rules = job(backoff=Backoff(initial=0.001, factor=10, max=0.5, reset_after=0.5))
    twice = fail_times(rules, 2)[-1]

    assert [twice.delay, run_again(twice, rules, uptime=0.55).delay] == [0.01, 0.001]


def test_run_that_never_gets_ready_is_no_long_run() -> None:
    rules = job(give_up=GiveUp(2, 1000))
    once = end(EXECUTED, rules, at=60)
    again = lifecycle.execute(lifecycle.end_wait(once), 61)

    assert end(again, rules, at=121).state is State.FATAL


def test_failures_within_their_time_count_however_long_the_runs_between_them_were() -> None:
    rules = job(backoff=Backoff(initial=0, reset_after=10), give_up=GiveUp(5, 60))
    lives = fail_times(rules, 5, uptime=11)

    assert [life.state for life in lives] == [State.BACKOFF] * 4 + [State.FATAL]


def test_failures_that_are_too_long_ago_do_not_count() -> None:
    rules = job(backoff=Backoff(initial=0, reset_after=10), give_up=GiveUp(5, 60))
    lives = fail_times(rules, 20, uptime=16)

    assert {life.state for life in lives} == {State.BACKOFF}


def test_run_must_be_longer_than_the_wait_before_it_to_count_as_long() -> None:
    rules = job(backoff=Backoff(initial=20, factor=2, max=60, reset_after=10))
    once = end(RUNNING, rules)

    assert [run_again(once, rules, uptime=seconds).delay for seconds in (15, 25)] == [40, 20]


@given(
    initial=st.floats(0, 1000),
    factor=st.floats(1, 1000),
    bound=st.floats(0, 1000),
    jitter=st.floats(0, 1),
    chance=st.floats(0, 1),
    count=st.integers(1, 40),
)
def test_wait_is_never_below_nominal_nor_above_its_bound_and_jitter(
    initial: float, factor: float, bound: float, jitter: float, chance: float, count: int
) -> None:
    backoff = Backoff(initial=initial, factor=factor, max=bound, jitter=jitter, reset_after=1e9)
    before = fail_times(job(backoff=backoff), count)[-1]
    begun = lifecycle.execute(lifecycle.end_wait(before), 0.0)

    life = end(begun, job(backoff=backoff), chance=chance)

    assert life.delay is not None
    assert life.delay <= life.retry_at <= bound * (1 + jitter)
    assert life.delay >= min(initial, bound)


def test_job_is_given_up_after_so_many_failures() -> None:
    lives = fail_times(job(give_up=GiveUp(5, 60)), 5)

    assert [life.state for life in lives] == [*[State.BACKOFF] * 4, State.FATAL]
    assert lives[-1].reason == "5 failures within 60 s"


def test_one_failure_is_told_in_the_singular() -> None:
    lives = fail_times(job(give_up=GiveUp(1, 60)), 1)

    assert lives[-1].reason == "1 failure within 60 s"


def test_failures_long_ago_do_not_count() -> None:
    rules = job(give_up=GiveUp(2, 5), backoff=Backoff(initial=6, jitter=0))

    assert fail_times(rules, 10)[-1].state is State.BACKOFF


def test_runs_that_end_well_do_not_count_as_failures() -> None:
    rules = job(restart="always", give_up=GiveUp(1, 60))

    assert end(RUNNING, rules, SUCCESS).state is State.BACKOFF


def test_job_without_a_bound_is_never_given_up_and_remembers_no_more_for_it() -> None:
    life = fail_times(job(), 200)[-1]

    assert (life.state, life.attempt, life.failures) == (State.BACKOFF, 200, ())


def test_asking_for_a_start_forgets_what_was_counted() -> None:
    rules = job(give_up=GiveUp(3, 60))

    anew = lifecycle.ask_start(fail_times(rules, 3)[-1])

    assert anew == Life(state=State.STARTING, attempt=1)


def test_manual_stops_and_starts_do_not_count() -> None:
    rules = job(give_up=GiveUp(2, 60))
    life = end(RUNNING, rules)
    for _ in range(5):
        running = lifecycle.become_ready(lifecycle.execute(lifecycle.ask_start(life), 0.0), 0.0)
        life = end(lifecycle.ask_stop(running), rules)

    assert lifecycle.ask_start(life).failures == ()


def test_job_that_fails_twice_and_then_ends_well_needs_as_many_attempts() -> None:
    rules = job(kind="oneshot", restart="on-failure", give_up=GiveUp(3, 60))
    third = lifecycle.execute(lifecycle.end_wait(fail_times(rules, 2)[-1]), 5.0)

    assert (third.attempt, end(third, rules, SUCCESS).state) == (3, State.EXITED)


def test_run_that_is_not_ready_in_time_is_stopped_and_counts_as_a_failure() -> None:
    late = lifecycle.fail_start(EXECUTED, "not ready after 60 s")

    ended = end(late, job(), SUCCESS)

    assert (late.state, late.after, ended.state) == (State.STOPPING, After.FAILURE, State.BACKOFF)
    assert ended.reason == "not ready after 60 s"


@pytest.mark.parametrize("life", [EXECUTED, RUNNING])
def test_run_that_takes_too_long_fails(life: Life) -> None:
    stopping = lifecycle.take_too_long(life, 5)
    ended = end(stopping, job(restart="never"), SUCCESS)

    assert (stopping.state, stopping.reason) == (State.STOPPING, "it took longer than 5 s")
    assert (ended.state, ended.succeeded) == (State.EXITED, False)


@pytest.mark.parametrize("life", [STOPPED, BACKOFF, STOPPING, EXITED, FATAL])
def test_what_does_not_run_takes_no_time(life: Life) -> None:
    assert lifecycle.take_too_long(life, 5) == life


def test_what_holds_a_start_back_is_its_reason_until_it_is_executed() -> None:
    held_back = lifecycle.hold_back(STARTING, "no room")

    assert (held_back.reason, lifecycle.execute(held_back, 1).reason) == ("no room", "")


def test_dead_run_counts_as_a_failure_though_it_ends_well() -> None:
    assert end(DYING, job(), SUCCESS).state is State.BACKOFF


@pytest.mark.parametrize("life", [STARTING, EXECUTED, BACKOFF, STOPPING, EXITED, FATAL, STOPPED])
def test_run_is_found_dead_only_while_it_runs(life: Life) -> None:
    assert lifecycle.find_dead(life, "no answer") == life


@pytest.mark.parametrize("life", [RUNNING, BACKOFF, STOPPING, EXITED, FATAL, STOPPED])
@pytest.mark.parametrize(
    "change",
    [
        lambda life: lifecycle.become_ready(life, 0.0),
        lambda life: lifecycle.fail_start(life, "late"),
        lambda life: lifecycle.skip(life, "db is gone"),
    ],
    ids=["become_ready", "fail_start", "skip"],
)
def test_what_belongs_to_a_start_changes_no_other_state(life: Life, change: Change) -> None:
    assert change(life) == life


@pytest.mark.parametrize("life", [STARTING, RUNNING, STOPPING, EXITED, FATAL, STOPPED])
def test_late_timer_of_a_wait_changes_no_other_state(life: Life) -> None:
    assert lifecycle.end_wait(life) == life


def test_skipped_job_is_stopped_and_did_not_end_well() -> None:
    skipped = lifecycle.skip(STARTING, "db is FATAL")

    assert (skipped.state, skipped.succeeded, skipped.reason) == (
        State.STOPPED,
        False,
        "db is FATAL",
    )


@pytest.mark.parametrize(
    ("life", "then"),
    [
        (STARTING, State.STOPPING),
        (EXECUTED, State.STARTING),
        (RUNNING, State.RUNNING),
        (BACKOFF, State.STOPPED),
        (STOPPING, State.STOPPING),
        (EXITED, State.EXITED),
    ],
)
def test_retired_job_goes_on_if_it_runs(life: Life, then: State) -> None:
    assert lifecycle.retire(life).state is then


@pytest.mark.parametrize("life", [EXECUTED, RUNNING, RESTARTING, DYING, BACKOFF, EXITED])
@pytest.mark.parametrize("restart", ["always", "on-failure", "never"])
def test_retired_job_is_never_run_again(life: Life, restart: str) -> None:
    retired = lifecycle.retire(life)

    ended = retired if retired.at_rest else end(retired, job(restart=restart))

    assert lifecycle.ask_start(ended).at_rest


@pytest.mark.parametrize(
    ("life", "condition", "met"),
    [
        (STOPPED, "started", None),
        (STARTING, "started", None),
        (EXECUTED, "started", True),
        (BACKOFF, "started", True),
        (EXITED, "started", True),
        (FATAL, "started", False),
        (end(STOPPING, job()), "started", False),
        (EXECUTED, "ready", None),
        (RUNNING, "ready", True),
        (BACKOFF, "ready", None),
        (STOPPING, "ready", None),
        (EXITED, "ready", True),
        (end(EXECUTED, job(), SUCCESS), "ready", False),
        (FATAL, "ready", False),
        (RUNNING, "completed", None),
        (EXITED, "completed", True),
        (end(RUNNING, job(restart="never")), "completed", False),
        (FATAL, "completed", False),
        (RUNNING, "exited", None),
        (EXITED, "exited", True),
        (FATAL, "exited", True),
        (end(STARTING, job(restart="never")), "exited", False),
        (lifecycle.skip(STARTING, "db is gone"), "exited", False),
    ],
)
def test_condition_is_met_or_not_yet_or_never(life: Life, condition: str, met: bool | None) -> None:
    assert lifecycle.meets(life, condition) is met


happenings: Sequence[Change] = (
    lifecycle.ask_start,
    lifecycle.ask_stop,
    lambda life: lifecycle.become_ready(life, 1.0),
    lifecycle.end_wait,
    lambda life: lifecycle.execute(life, 1.0) if life.state is State.STARTING else life,
    lambda life: lifecycle.fail_start(life, "late"),
    lambda life: lifecycle.find_dead(life, "no answer"),
    lambda life: lifecycle.take_too_long(life, 5),
    lambda life: lifecycle.hold_back(life, "no room"),
    lambda life: life if life.at_rest or life.state is State.BACKOFF else end(life, job(), at=2.0),
)


@given(st.lists(st.sampled_from(happenings)))
def test_whatever_happened_a_stop_leads_to_rest_and_a_start_out_of_it(
    changes: list[Change],
) -> None:
    life = reduce(lambda life, change: change(life), changes, STOPPED)

    stopped = lifecycle.ask_stop(life)
    rested = stopped if stopped.at_rest else end(stopped, job(restart="always"))

    assert rested.at_rest
    assert lifecycle.ask_start(rested) == Life(state=State.STARTING, attempt=1)


@given(st.lists(st.sampled_from(happenings)))
def test_whatever_happens_to_a_retired_job_it_waits_for_nothing(changes: list[Change]) -> None:
    life = reduce(lambda life, change: change(life), changes, STOPPED)

    after = reduce(lambda life, change: change(life), changes, lifecycle.retire(life))

    assert after.final
    assert after.state is not State.BACKOFF


def test_life_is_a_value() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        STOPPED.attempt = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("life", "stopped"),
    [
        (STOPPED, False),
        (end(STOPPING, job()), True),
        (lifecycle.ask_stop(BACKOFF), True),
        (end(lifecycle.ask_stop(STARTING), job(), SUCCESS), True),
        (lifecycle.ask_stop(EXITED), False),
        (lifecycle.ask_stop(FATAL), False),
        (lifecycle.skip(STARTING, "db will not be ready"), False),
        (lifecycle.retire(end(STOPPING, job())), False),
        (end(lifecycle.ask_stop(lifecycle.retire(RUNNING)), job()), False),
        (STOPPING, False),
        (RUNNING, False),
    ],
)
def test_job_is_stopped_that_somebody_has_stopped_and_may_start(
    life: Life,
    stopped: bool,
) -> None:
    assert life.stopped is stopped
