"""Which jobs get a cgroup, and what is said if that cannot be."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from mocker.isolation import Limits, SetupError
from mocker.isolation.delegation import Delegation
from mocker.supervisor.config import ContainerConfig
from mocker.supervisor.delegated_cgroups import JobCgroups, NoLimitsError
from mocker.supervisor.jobs import Job
from mocker.supervisor.lifecycle import State
from tests.cgroups import (
    ROOT,
    enter,
    own_tree,
    read_cgroup,
    see_version_2_alone,
    show_controllers,
)
from tests.in_namespaces import run_in_child
from tests.requirements import requires_busybox, requires_root, requires_user_namespaces
from tests.supervisor.cgroup_world import make_means_with_cgroups
from tests.supervisor.job_world import configure, make_means, reach, surroundings

TEN = Limits(pids=10)


def list_nobody() -> Iterable[int]:
    raise AssertionError("nobody is to be moved")


async def let_go_on(_: object) -> str:
    return ""


def make(limits: Limits | None) -> str:
    """Return the path of the cgroup that a container with these limits gets; "" for none."""
    cgroup = trio.run(JobCgroups(lambda: ()).make, limits)
    if cgroup is None:
        return ""
    path = cgroup.path
    cgroup.remove()
    return path


def test_who_has_no_limits_needs_nothing() -> None:
    def act() -> object:
        show_controllers("cpu memory pids")
        return trio.run(JobCgroups(list_nobody).make, None)

    assert run_in_child(act) is None


def test_limit_that_cannot_be_had_is_refused_with_the_reason() -> None:
    def act() -> str:
        show_controllers("cpu")
        with pytest.raises(NoLimitsError) as caught:
            make(TEN)
        return str(caught.value)

    assert "pids" in run_in_child(act)


@requires_root
def test_where_a_cgroup_is_delegated_everybody_gets_one() -> None:
    with own_tree() as tree:
        os.setxattr(tree, "user.delegate", b"1")

        def act() -> str:
            see_version_2_alone()
            enter(ROOT / tree.name)
            return make(None)

        path = run_in_child(act)

    assert Path(path).parent == ROOT / tree.name


async def test_place_is_looked_for_once() -> None:
    asked = list[int]()

    def count() -> Iterable[int]:
        asked.append(1)
        return (2**22,)  # nobody's, so that nothing is found and nothing moved

    cgroups = JobCgroups(count)
    cgroups._are_everybodys = False
    for _ in range(3):
        try:
            await cgroups.make(TEN)
        except NoLimitsError:
            continue

    assert asked == [1]


async def test_passing_shortage_is_no_reason_to_give_a_job_up(tmp_path: Path) -> None:
    class Short(Delegation):
        def make_cgroup(self, limits: Limits) -> None:  # type: ignore[override]
            raise SetupError("make the cgroup ", 11, str(tmp_path))

    cgroups = JobCgroups(list_nobody)
    cgroups._are_everybodys, cgroups._found = False, Short(str(tmp_path), ())

    with pytest.raises(SetupError) as caught:
        await cgroups.make(TEN)

    assert not isinstance(caught.value, NoLimitsError)


@requires_user_namespaces
@requires_busybox
async def test_job_whose_limit_cannot_be_had_is_given_up_and_others_run() -> None:
    container = ContainerConfig(argv=("true",), rootfs="busybox", hostname="web", pids=10)
    limited = configure("true", container=container, restart="always")
    with make_means() as means:
        means.cgroups._are_everybodys = False
        means.cgroups._found = SetupError("limit a container", hint="ask somebody")
        jobs = [
            Job(config, means, let_go_on, lambda _: None)
            for config in (limited, configure("exit 0", name="other"))
        ]
        with capture_logs() as events:
            async with surroundings(means) as nursery:
                for job in jobs:
                    nursery.start_soon(job.run)
                    job.start()
                    await job.wait_at_rest()

    assert [job.life.state for job in jobs] == [State.FATAL, State.EXITED]
    assert jobs[0].life.reason == "cannot limit a container; ask somebody"
    told = [(e["event"], e.get("next")) for e in events if e["event"] != "job.started"]
    assert told[:2] == [("job.start_failed", "nothing"), ("job.given_up", None)]


async def test_place_that_cannot_be_used_keeps_nobody_from_starting_who_asks_for_nothing() -> None:
    cgroups = JobCgroups(list_nobody)
    cgroups._are_everybodys = True
    cgroups._found = SetupError("limit a container", hint="it is gone")

    assert await cgroups.make(None) is None


@requires_root
async def test_job_without_a_container_has_a_cgroup_and_can_be_paused() -> None:
    argv = ("sh", "-c", "sleep 1000 & wait")
    container = ContainerConfig(
        argv=argv, rootfs="host", hostname="web", network="host", isolate=False
    )
    with make_means_with_cgroups() as means:
        job = Job(configure("", container=container), means, let_go_on, lambda _: None)
        async with surroundings(means) as nursery:
            nursery.start_soon(job.run)
            job.start()
            await reach(job, State.RUNNING)
            running = means.running["web"]
            assert running.cgroup is not None
            inside = read_cgroup(running.pid)
            job.freeze()
            is_frozen = await job.pause.wait_frozen(running)
            job.kill()
            await job.wait_at_rest()

    assert Path(running.cgroup.path).name == Path(inside).name
    assert is_frozen
    assert running.cgroup.fd < 0  # it is removed
