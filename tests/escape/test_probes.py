"""Nobody gets out of a container, or looks out, or takes too much: the battery of probes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.requirements import (
    IS_ROOT,
    requires_commands,
    requires_root,
    requires_subordinate_ids,
    requires_user_namespaces,
)

from .__main__ import mark
from .battery import Battery, list_denials, list_passes, open_battery, with_wall, without_wall
from .probe import PROBES, ROOT, USER, Probe
from .ways import Way, run_as_jobs, run_beside

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.slow,
    requires_user_namespaces,
    requires_subordinate_ids,
    requires_commands("setpriv", "setsid", "unshare"),
]

FEWEST = 60  # that were promised
NONE = {"ENOSYS"}

# A root that is a directory, and has what Python needs.
SKELETON = ("--rootfs", "{skeleton}", "-v", "/usr:/usr:ro", "--tmpfs", "/tmp")

Case = tuple[Probe, str]


@pytest.fixture(scope="module")
def battery() -> Iterator[Battery]:
    with open_battery() as battery:
        yield battery


def name_cases(cases: list[Case]) -> list[str]:
    return [f"{probe.name}-as-{whom}" for probe, whom in cases]


DENIALS = list_denials()
PASSES = list_passes(as_root=IS_ROOT)


@pytest.mark.parametrize(("probe", "whom"), DENIALS, ids=name_cases(DENIALS))
def test_probe_is_denied(battery: Battery, probe: Probe, whom: str) -> None:
    verdict = battery.judge(probe, with_wall(probe, whom))

    assert verdict in probe.denied_to(whom)


@pytest.mark.parametrize(("probe", "whom"), PASSES, ids=name_cases(PASSES))
def test_probe_gets_through_without_its_wall(battery: Battery, probe: Probe, whom: str) -> None:
    verdict = battery.judge(probe, without_wall(probe, whom))

    assert verdict in probe.then


@pytest.mark.timeout(60)
@pytest.mark.parametrize("run", [run_as_jobs, run_beside])
@pytest.mark.parametrize("whom", [ROOT, USER])
def test_jobs_and_what_is_executed_beside_them_are_denied_the_same(
    battery: Battery, whom: str, run: Way
) -> None:
    verdicts = battery.judge_way(whom, run)

    assert find_odd(verdicts, whom) == {}


@pytest.mark.parametrize("options", [[], ["--rootfs-mode", "rw"], ["--read-only"]])
@pytest.mark.parametrize("whom", [ROOT, USER])
def test_same_is_denied_in_a_directory(battery: Battery, whom: str, options: list[str]) -> None:
    verdicts = battery.judge_options(whom, (*SKELETON, *options))

    assert find_odd(verdicts, whom) == {}


@pytest.mark.parametrize(
    "options",
    [
        ("--allow-new-privs",),
        ("--network", "host"),
        ("--seccomp", "unconfined"),
        pytest.param(("--userns", "host"), marks=requires_root),
    ],
    ids="=".join,
)
@pytest.mark.parametrize("whom", [ROOT, USER])
def test_other_walls_stand_without_one(
    battery: Battery, whom: str, options: tuple[str, ...]
) -> None:
    verdicts = battery.judge_options(whom, options)

    # Where the kernel has no such call, nobody gets through by it.
    through = {name for name, verdict in verdicts.items() if verdict in {*PROBES[name].then} - NONE}
    assert [name for name in through if PROBES[name].wall.options != options] == []


def find_odd(verdicts: dict[str, str], whom: str) -> dict[str, str]:
    """Return the verdicts that do not show a wall."""
    return {
        name: verdict
        for name, verdict in verdicts.items()
        if verdict not in PROBES[name].denied_to(whom)
    }


def run_table(*names: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.escape", *names],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(60)
def test_table_shows_who_is_denied_what_and_who_gets_through_then() -> None:
    result = run_table("R-nofile", "H-namespace", "C-user")

    head, line, *rows = [row.strip("| \n").split(" | ") for row in result.stdout.splitlines()]
    assert (result.stderr, result.returncode) == ("", 0)
    assert head[0] == "probe"
    assert set(line) == {"---"}
    assert [(row[0], row[3], row[4], row[6]) for row in rows] == [
        ("R-nofile", "EMFILE", "EMFILE", "through"),
        ("H-namespace", "its own", "its own", "through"),
        ("C-user", "-", "none", "through"),
    ]


def test_table_knows_no_other_probes() -> None:
    result = run_table("R-nofile", "R-nothing")

    assert (result.stdout, result.returncode) == ("", 1)
    assert result.stderr.startswith("there is no probe R-nothing; ")


def test_verdict_that_should_not_be_is_marked() -> None:
    assert mark("through", ("EPERM", "EACCES")) == "through !"
    assert mark("EACCES", ("EPERM", "EACCES")) == "EACCES"


def test_whoever_is_denied_something_gets_through_somehow() -> None:
    denials, passes = set(name_cases(DENIALS)), set(name_cases(list_passes(as_root=True)))

    # That a user has no capability is shown by root's.
    assert denials - passes == {"C-user-as-user"}


def test_each_probe_gets_through_somehow() -> None:
    assert {probe.name for probe, _ in list_passes(as_root=True)} == set(PROBES)


def test_as_many_as_promised_are_denied_as_root_and_as_a_user_and_get_through_as_both() -> None:
    passes = list_passes(as_root=False)  # what only root can do without does not count

    whole = [
        probe.name
        for probe in PROBES.values()
        if all((probe, whom) in passes and probe.denied_to(whom) for whom in (ROOT, USER))
    ]

    assert len(whole) >= FEWEST


def test_no_verdict_counts_both_as_denied_and_as_through() -> None:
    odd = [
        probe.name
        for probe in PROBES.values()
        if {*probe.denied, *probe.denied_user} & set(probe.then)
    ]

    assert odd == []
