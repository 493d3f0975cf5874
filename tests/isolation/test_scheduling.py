import os
import resource
from pathlib import Path

import pytest

from mocker.isolation import ContainerSpec, SetupError, describe, spawn
from mocker.isolation.scheduling import render_cpus, schedule, try_schedule
from mocker.isolation.syscalls import PR_SET_DUMPABLE, prctl
from tests.beside import run_script, running
from tests.containers import in_container, make_spec, run_captured, script
from tests.in_namespaces import run_in_child
from tests.requirements import IS_ROOT

LAST_CPU = max(os.sched_getaffinity(0))
MINE = Path("/proc/self/oom_score_adj")
SHOW = "cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj; grep list /proc/self/status"


def shown(nice: int, score: int, cpus: str) -> str:
    return f"{nice}\n{score}\nCpus_allowed_list:\t{cpus}\nMems_allowed_list:"


def ask(**fields: object) -> None:
    """Ask something of the calling process itself."""
    schedule(os.getpid(), make_spec(**fields))


def read_own() -> tuple[int, int, set[int]]:
    return os.getpriority(os.PRIO_PROCESS, 0), int(MINE.read_text()), os.sched_getaffinity(0)


def test_process_has_what_is_asked_for() -> None:
    def act() -> tuple[int, int, set[int]]:
        ask(nice=15, oom_score_adj=900, cpu_affinity=[LAST_CPU])
        return read_own()

    assert run_in_child(act) == (15, 900, {LAST_CPU})


def test_what_is_not_asked_for_stays_as_it_is() -> None:
    def act() -> bool:
        before = read_own()
        ask()
        return before == read_own()

    assert run_in_child(act)


@pytest.mark.parametrize(
    ("missing", "named"), [([LAST_CPU, 8191], "8191"), ([8000, 8001, 8002, 8191], "8000-8002,8191")]
)
def test_cpus_that_are_not_there_are_named(missing: list[int], named: str) -> None:
    def act() -> None:
        ask(cpu_affinity=missing)

    with pytest.raises(SetupError) as info:
        run_in_child(act)

    before = render_cpus(os.sched_getaffinity(0))
    assert str(info.value) == (
        f"cannot run on the CPUs {render_cpus(missing)}: Invalid argument (EINVAL); "
        f"{named} can't be had; the caller has {before}"
    )


def test_nice_value_that_is_not_the_callers_to_give_is_refused() -> None:
    mine = min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)

    def act() -> None:
        os.nice(10)
        if IS_ROOT:
            os.setresuid(7777, 7777, 7777)
        resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
        ask(nice=-3)

    with pytest.raises(SetupError) as info:
        run_in_child(act)

    found = info.value
    assert (found.step, found.hint) == (
        "set the nice value to -3",
        f"less than the caller's {mine} takes CAP_SYS_NICE, or a higher ulimit nice",
    )


def test_oom_score_that_is_not_the_callers_to_give_is_refused() -> None:
    def act() -> None:
        if IS_ROOT:
            os.setresuid(7777, 7777, 7777)
            prctl(PR_SET_DUMPABLE, 1)  # else the file is not the process's own
        ask(oom_score_adj=-999)

    with pytest.raises(SetupError) as info:
        run_in_child(act)

    found = info.value
    assert (found.step, found.hint) == (
        "set oom_score_adj to -999",
        "less than the caller began with takes CAP_SYS_RESOURCE on the host",
    )


def test_process_that_is_gone_is_an_error() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)

    with pytest.raises(SetupError, match=r"set oom_score_adj to 0: No such file .*\(ENOENT\)$"):
        schedule(pid, make_spec(oom_score_adj=0))


@pytest.mark.parametrize(
    ("cpus", "text"),
    [([], ""), ([3], "3"), ([0, 1, 2], "0-2"), ([5, 1, 0, 7, 6, 1], "0-1,5-7"), ([0, 2], "0,2")],
)
def test_cpus_are_listed_as_the_kernel_does(cpus: list[int], text: str) -> None:
    assert render_cpus(cpus) == text


def test_trying_tells_what_would_be_refused_and_changes_nothing() -> None:
    before = read_own()

    try_schedule(make_spec(nice=19, oom_score_adj=1000, cpu_affinity=[LAST_CPU]))
    with pytest.raises(SetupError, match="cannot run on the CPUs 8191: Invalid argument"):
        try_schedule(make_spec(nice=19, cpu_affinity=[8191]))

    assert read_own() == before


@in_container
def test_command_and_what_is_beside_it_have_it() -> None:
    fields = {"nice": 12, "oom_score_adj": 700, "cpu_affinity": [LAST_CPU]}

    command = run_captured(script(SHOW, **fields))
    with running(make_spec(argv=["sleep", "1000"], **fields)) as container:
        beside = run_script(container, SHOW).text

    assert command.stdout.startswith(shown(12, 700, str(LAST_CPU)))
    assert beside.startswith(shown(12, 700, str(LAST_CPU)))


def test_process_without_a_container_has_it() -> None:
    fields = {"isolate": False, "rootfs": "host", "network": "host"}

    outcome = run_captured(script(SHOW, nice=13, oom_score_adj=600, cpu_affinity=[0], **fields))

    assert outcome.stdout.startswith(shown(13, 600, "0"))


@in_container
def test_container_that_can_not_have_it_does_not_start() -> None:
    with pytest.raises(SetupError, match="cannot run on the CPUs 8191: Invalid argument"):
        spawn(make_spec(cpu_affinity=[8191]))


def test_dry_run_tells_it() -> None:
    lines = describe(
        ContainerSpec(["true"], rootfs="host", nice=1, oom_score_adj=2, cpu_affinity=[0, 1])
    )

    expected = ["run on the CPUs 0-1", "set the nice value to 1", "set oom_score_adj to 2"]
    assert [line for line in lines if line in expected] == expected
