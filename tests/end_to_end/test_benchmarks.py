"""The benchmarks run, with counts that are too small to tell anything."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.requirements import (
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

START_LATENCY = Path(__file__).parents[1] / "benchmarks/start_latency.py"
OURS = {
    "mocker run true",
    "spawn, wait",
    "ForkServer.spawn, wait",
    "ForkServer.spawn, kept alive",
}
FLOOR = {"C program", "C program, warm", "C program, kept alive"}


def run_start_latency(report: Path, **env: str) -> subprocess.CompletedProcess[str]:
    arguments = ["--count", "1", "--alive", "2", "--json", str(report)]
    return subprocess.run(
        [sys.executable, START_LATENCY, *arguments],
        capture_output=True,
        text=True,
        env=env or None,
        check=False,
    )


def read_report(result: subprocess.CompletedProcess[str], report: Path) -> dict[str, Any]:
    assert (result.returncode, result.stderr) == (0, "")
    content: dict[str, Any] = json.loads(report.read_text())
    return content


def test_start_latency_measures_every_way_to_start_a_container(tmp_path: Path) -> None:
    result = run_start_latency(tmp_path / "report")

    report = read_report(result, tmp_path / "report")
    assert {name for name, median in report["medians"].items() if median > 0} >= OURS


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


def test_start_latency_says_which_program_is_not_installed(tmp_path: Path) -> None:
    result = run_start_latency(tmp_path / "report", PATH=str(tmp_path))

    obstacles = read_report(result, tmp_path / "report")["not_measured"]
    assert obstacles["runc run"] == (
        "runc is not installed; on Debian and Ubuntu: apt-get install runc"
    )
    assert obstacles["runc run"] in result.stdout
