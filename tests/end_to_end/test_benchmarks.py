"""The benchmarks run, with counts that are too small to tell anything."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mocker.isolation import program
from mocker.isolation.plan import Plan, make_plan
from tests.benchmarks.start_latency import BUBBLEWRAP, RUNC, RUNC_EQUAL, TRUE_SOFT
from tests.benchmarks.supervise_scale import S6
from tests.benchmarks.unhardened import take_walls_down
from tests.journald import requires_journald
from tests.requirements import (
    MUST_RUN,
    requires_busybox,
    requires_commands,
    requires_root,
    requires_user_namespaces,
)

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.slow,
    requires_busybox,
    requires_user_namespaces,
]

ROOT = Path(__file__).parents[2]
OURS = {
    "mocker run true",
    "mocker run true, not hardened",
    "spawn, wait",
    "spawn, wait, not hardened",
    "ForkServer.spawn, wait",
    "ForkServer.spawn, wait, not hardened",
    "ForkServer.spawn, kept alive",
    "loading the filter of system calls",
}
FLOOR = {"C program", "C program, warm", "C program, served", "C program, kept alive"}
FILE_LOGS = {"mocker-supervise, raw", "mocker-supervise, text", "mocker-supervise, JSON"}
JOURNAL = "mocker-supervise, journald"
TICKS = 10  # of which the first is left out


def run_start_latency(report: Path, **env: str) -> subprocess.CompletedProcess[str]:
    arguments = ["--count", "1", "--alive", "2", "--json", str(report)]
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.start_latency", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env or None,
        check=False,
    )


def run_supervise_scale(report: Path, **env: str) -> subprocess.CompletedProcess[str]:
    counts = ["--jobs", "3", "--more", "4", "--rounds", "1", "--restarts", "2", "--idle", "0.1"]
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.supervise_scale", *counts, "--json", str(report)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env or None,
        check=False,
    )


@pytest.fixture(scope="module")
def throughput(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """Return the report of relay_throughput, and what it prints.

    It is run once, where hardly any of the other programs are: each takes its time.
    """
    directory = tmp_path_factory.mktemp("throughput")
    needed = ["as", "cat", "cc", "ld"]
    needed += ["bash", "cp", "journalctl", "mkdir", "mount", "true", "unshare"]  # for a journald
    for path in filter(None, map(shutil.which, needed)):
        (directory / Path(path).name).symlink_to(path)
    counts = ["--lines", "9000", "--jobs", "4", "--rounds", "1", "--ticks", str(TICKS)]
    report = directory / "report"
    result = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.relay_throughput", *counts, "--json", str(report)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PATH": str(directory), "PIP_NO_INDEX": "1"},
        check=False,
    )
    return read_report(result, report), result.stdout


def list_counts(report: dict[str, Any], name: str) -> list[tuple[int, int, int]]:
    """Return for each part of the benchmark the lines that were printed, arrived, and are right."""
    flows = [flow for part in report["flows"].values() for flow in part[name]]
    return [(flow["lines"], flow["arrived"], flow["right"]) for flow in flows]


def list_command_lines() -> list[str]:
    lines: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            lines.append(path.read_text().replace("\0", " ").rstrip())
    return lines


def read_report(result: subprocess.CompletedProcess[str], report: Path) -> dict[str, Any]:
    assert (result.returncode, result.stderr) == (0, "")
    content: dict[str, Any] = json.loads(report.read_text())
    return content


def test_start_latency_measures_every_way_to_start_a_container(tmp_path: Path) -> None:
    result = run_start_latency(tmp_path / "report")

    report = read_report(result, tmp_path / "report")
    assert {name for name, median in report["medians"].items() if median > 0} >= OURS


def test_start_latency_tells_what_hardening_costs(tmp_path: Path) -> None:
    result = run_start_latency(tmp_path / "report")

    differences = read_report(result, tmp_path / "report")["differences"]
    assert {each["of"]: each["at_most"] for each in differences if each["is"]} == {
        "mocker run true": 5.0,
        "spawn, wait": 1.5,
        "ForkServer.spawn, wait": 1.5,
    }


def test_start_latency_takes_the_hardening_without_an_option_away() -> None:
    def prepare() -> tuple[Plan, int]:
        return make_plan(TRUE_SOFT), len(program._begin(None, isolate=True))

    hard, its_calls = prepare()

    put_up = take_walls_down()
    soft, calls = prepare()
    put_up()

    assert ([limit.name for limit in hard.rlimits], calls) == (["core"], its_calls - 1)
    assert (soft.rlimits, soft.guarded) == ((), None)


@requires_root  # anybody else gets the growth of the whole machine's, which others change as well
def test_start_latency_measures_the_memory_of_a_container(tmp_path: Path) -> None:
    result = run_start_latency(tmp_path / "report")

    # A fork that touched nothing would have dozens of pages of its own, a fresh Python megabytes.
    assert 2**16 < read_report(result, tmp_path / "report")["private_bytes"] < 2**24


@requires_commands("cc")
def test_start_latency_compares_with_a_program_that_makes_the_same_system_calls(
    tmp_path: Path,
) -> None:
    result = run_start_latency(tmp_path / "report")

    report = read_report(result, tmp_path / "report")
    assert {ratio["to"] for ratio in report["ratios"] if ratio["is"]} >= FLOOR


def check_measured(report: dict[str, Any], *names: str) -> None:
    """Skip a test if something that is installed does not run here, as in an outer container."""
    for obstacle in filter(None, map(report["not_measured"].get, names)):
        if MUST_RUN:
            pytest.fail(obstacle)
        pytest.skip(obstacle)


@requires_commands("bwrap")
def test_start_latency_compares_with_bubblewrap(tmp_path: Path) -> None:
    result = run_start_latency(tmp_path / "report")

    report = read_report(result, tmp_path / "report")
    check_measured(report, BUBBLEWRAP)
    assert report["medians"][BUBBLEWRAP] > 0
    assert BUBBLEWRAP in {ratio["to"] for ratio in report["ratios"] if ratio["is"]}


@requires_root
@requires_commands("runc")
def test_start_latency_compares_with_runc(tmp_path: Path) -> None:
    result = run_start_latency(tmp_path / "report")

    report = read_report(result, tmp_path / "report")
    check_measured(report, RUNC, RUNC_EQUAL)
    assert min(report["medians"][name] for name in (RUNC, RUNC_EQUAL)) > 0
    (bound,) = (ratio["at_most"] for ratio in report["ratios"] if ratio["to"] == RUNC)
    assert bound == 1.25


@requires_commands("s6-svscan")
def test_supervise_scale_compares_with_s6(tmp_path: Path) -> None:
    result = run_supervise_scale(tmp_path / "report")

    report = read_report(result, tmp_path / "report")
    check_measured(report, S6)
    (use,) = report["uses"][S6]
    assert min(use["start_s"], use["stop_s"], use["private_bytes"]) > 0


def test_start_latency_says_which_program_is_not_installed(tmp_path: Path) -> None:
    result = run_start_latency(tmp_path / "report", PATH=str(tmp_path))

    obstacles = read_report(result, tmp_path / "report")["not_measured"]
    assert obstacles["runc run"] == (
        "runc is not installed; on Debian and Ubuntu: apt-get install runc"
    )
    assert obstacles["runc run"] in result.stdout


def test_pass_through_compares_a_command_in_a_container_with_one_outside(tmp_path: Path) -> None:
    counts = ["--bytes", "1000000", "--rounds", "2", "--json", str(tmp_path / "report")]

    result = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.pass_through", *counts],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    report = read_report(result, tmp_path / "report")
    names = {"cat", "mocker run cat", "mocker run --rootfs host cat"}
    assert {name: len(times) for name, times in report["milliseconds"].items()} == dict.fromkeys(
        names, 2
    )
    assert min(report["megabytes_per_s"].values()) > 0
    assert [(ratio["is"] > 0, ratio["at_most"]) for ratio in report["ratios"]] == [(True, 1.1)] * 2
    assert report["not_measured"] == {}


def test_supervise_scale_measures_jobs_from_their_start_to_their_end(tmp_path: Path) -> None:
    result = run_supervise_scale(tmp_path / "report")

    report = read_report(result, tmp_path / "report")
    (use,) = report["uses"]["mocker-supervise"]
    # The supervisor, a cloner, one or two planners and the server of applets, and for each job an
    # init and a command.
    assert use["processes"] - 2 * 3 in {4, 5}
    assert report["more"]["4"]["processes"] - 2 * 4 in {4, 5}
    assert min(use["start_s"], use["stop_s"], use["private_bytes"]) > 0
    assert 0 <= use["idle_share"] < 1


@requires_commands("cc")
def test_supervise_scale_measures_a_restart_beside_warm_starts(tmp_path: Path) -> None:
    result = run_supervise_scale(tmp_path / "report")

    times = read_report(result, tmp_path / "report")["milliseconds"]
    assert {name: len(each) for name, each in times.items()} == {
        "restart of a job": 2,
        "ForkServer.spawn, wait": 2,
        "C program, served": 2,
    }
    assert min(min(each) for each in times.values()) > 0


def test_supervise_scale_says_which_program_is_not_installed(tmp_path: Path) -> None:
    result = run_supervise_scale(tmp_path / "report", PATH=str(tmp_path))

    obstacles = read_report(result, tmp_path / "report")["not_measured"]
    assert obstacles["s6-svscan, not isolated"] == (
        "s6-svscan is not installed; on Debian and Ubuntu: apt-get install s6"
    )
    assert obstacles["s6-svscan, not isolated"] in result.stdout


def test_supervise_scale_leaves_nothing_of_a_contestant_that_fails(tmp_path: Path) -> None:
    supervisord = tmp_path / "supervisord"
    supervisord.write_text("#!/bin/sh\n/bin/sleep 73219 &\necho out of luck\nexit 3\n")
    supervisord.chmod(0o755)

    result = run_supervise_scale(tmp_path / "report", PATH=str(tmp_path))

    obstacles = read_report(result, tmp_path / "report")["not_measured"]
    assert obstacles["supervisord, not isolated"] == "it ended with 3: out of luck"
    assert "/bin/sleep 73219" not in list_command_lines()


@requires_commands("cc")
def test_relay_throughput_finds_each_line_in_files_once_and_in_order(
    throughput: tuple[dict[str, Any], str],
) -> None:
    report, _ = throughput

    for name in (*FILE_LOGS, "cat, raw"):
        assert list_counts(report, name) == [(9000,) * 3, (3000,) * 3, (3000,) * 3]
        assert len(report["milliseconds"][name]) == TICKS - 1
        assert min(report["milliseconds"][name]) > 0


@requires_commands("cc")
@requires_journald
def test_relay_throughput_finds_each_line_in_a_journal_once_and_in_order(
    throughput: tuple[dict[str, Any], str],
) -> None:
    report, _ = throughput

    assert list_counts(report, JOURNAL) == [(900,) * 3, (300,) * 3, (300,) * 3]
    assert len(report["milliseconds"][JOURNAL]) == TICKS - 1


@requires_commands("cc")
def test_relay_throughput_measures_what_it_takes(throughput: tuple[dict[str, Any], str]) -> None:
    report, _ = throughput

    for part in report["flows"].values():
        for name in FILE_LOGS:
            (flow,) = part[name]
            assert min(flow["seconds"], flow["processor_s"]) > 0
            assert flow["private_bytes"] > flow["biggest_bytes"] > 2**20


@requires_commands("cc")
def test_relay_throughput_says_who_takes_no_part(throughput: tuple[dict[str, Any], str]) -> None:
    report, printed = throughput

    obstacles = report["not_measured"]
    assert obstacles["supervisord, raw"] == (
        "supervisord is not installed; on Debian and Ubuntu: apt-get install supervisor"
    )
    assert obstacles["supervisord, raw"] in printed
    assert "circus" in obstacles["circus, raw"]


def test_control_latency_asks_supervisors_with_one_job_and_with_many(tmp_path: Path) -> None:
    counts = ["--jobs", "3", "--count", "1", "--json", str(tmp_path / "report")]

    result = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.control_latency", *counts],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    report = read_report(result, tmp_path / "report")
    names = {"mocker ps, 1 job", "mocker ps, many jobs", "python -c pass"}
    assert {name for name, median in report["medians"].items() if median > 0} == names
    assert [check["is"] > 0 for check in report["checks"]] == [True, True]


def test_control_load_stops_jobs_while_others_ask(tmp_path: Path) -> None:
    counts = ["--jobs", "3", "--rate", "50", "--stops", "2", "--json", str(tmp_path / "report")]

    result = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.control_load", *counts],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    report = read_report(result, tmp_path / "report")
    assert {name: len(times) for name, times in report["milliseconds"].items()} == {
        "alone": 2,
        "loaded": 2,
    }
    assert min(map(min, report["milliseconds"].values())) > 0
    assert 0 < report["requests_per_s"]["reached"] < 500
    assert [check["is"] > 0 for check in report["checks"]] == [True] * 3


@requires_commands("cc")
def test_follow_cost_compares_a_job_with_and_without_readers(tmp_path: Path) -> None:
    counts = ["--readers", "2", "--rate", "2000", "--seconds", "0.5", "--rounds", "1"]
    report = tmp_path / "report"
    result = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.follow_cost", *counts, "--json", str(report)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    found = read_report(result, report)
    assert [flow["right"] for flow in found["alone"] + found["followed"]] == [1000, 1000]
    assert found["got"] == [1000]
    assert [check["is"] for check in found["checks"]][1:] == [0]
