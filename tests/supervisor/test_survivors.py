import os
import subprocess

import pytest

from mocker.isolation import ContainerSpec
from mocker.supervisor.survivors import list_survivors
from tests.containers import in_container, open_container, script

# A shell that lasts and prints a line first; its last word is found again.
LAST = "mkfifo $0; echo; read -r _ <>$0"


def commands_in(spec: ContainerSpec, lines: int = 1) -> list[str]:
    """Return the command lines that are left in a container once it has printed so many lines."""
    with open_container(spec) as (container, output):
        for _ in range(lines):
            output.readline()
        return [survivor.split(" ", 1)[1] for survivor in list_survivors(container.pid)]


def last_words(commands: list[str]) -> list[str]:
    return sorted(command.split()[-1] for command in commands)


@in_container
def test_command_and_what_it_left_are_listed() -> None:
    spec = script(f"setsid sh -c '{LAST}' /a & sh -c '{LAST}' /b & wait", "main")

    assert last_words(commands_in(spec, 2)) == ["/a", "/b", "main"]


@in_container
def test_orphan_is_listed() -> None:
    spec = script(f"(setsid sh -c '{LAST}' /a &); {LAST.replace('$0', '/b')}", "main")

    assert last_words(commands_in(spec, 2)) == ["/a", "main"]


@in_container
def test_many_processes_are_cut() -> None:
    spec = script("i=0; while [ $i -lt 80 ]; do sleep 1000 & i=$((i+1)); done; echo; wait")

    assert len(commands_in(spec)) == 50


def test_pid_is_that_of_the_host() -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        try:
            assert f"{child.pid} sleep 1000" in list_survivors(os.getpid())
        finally:
            child.kill()


def test_long_command_line_is_cut() -> None:
    with subprocess.Popen(["tail", "-f", "/dev/null", *["/dev/null"] * 50]) as child:
        try:
            (line,) = [text for text in list_survivors(os.getpid()) if str(child.pid) in text]
            assert len(line) <= 200 + len(f"{child.pid} ")
        finally:
            child.kill()


def test_nobody_is_below_a_process_that_is_gone() -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()

    assert list_survivors(child.pid) == []


@pytest.mark.parametrize("pid", [-1, 2**22 + 1])
def test_nobody_is_below_a_number_that_is_none(pid: int) -> None:
    assert list_survivors(pid) == []
