import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def child(*arguments: str) -> Iterator[int]:
    """Run a shell with these arguments on the host, and provide its pid once it runs."""
    command = ["sh", "-c", "echo; read -r _", "sh", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def test_pid_is_that_of_the_host() -> None:
    with child("word") as pid:
        assert f"{pid} sh -c echo; read -r _ sh word" in list_survivors(os.getpid())


def test_long_command_line_is_cut() -> None:
    with child(*["word"] * 100) as pid:
        (line,) = [text for text in list_survivors(os.getpid()) if text.startswith(f"{pid} ")]

    assert len(line) <= len(f"{pid} ") + 200


def test_nobody_is_below_a_process_that_is_gone() -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()

    assert list_survivors(child.pid) == []


@pytest.mark.parametrize("pid", [-1, 2**22 + 1])
def test_nobody_is_below_a_number_that_is_none(pid: int) -> None:
    assert list_survivors(pid) == []
