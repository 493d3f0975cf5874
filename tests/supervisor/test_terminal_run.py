import resource
import signal
import sys
import termios

import pytest

from mocker.isolation import CommandError, ContainerSpec, Rlimit
from mocker.supervisor.foreground import TIMED_OUT
from mocker.supervisor.terminal_run import run_on_terminal
from tests.containers import in_container, script
from tests.end_to_end.pty_driver import lead_new_terminal, open_terminal, read_shown
from tests.in_namespaces import run_in_child
from tests.requirements import requires_commands

# Says which children there are at the moment at which trio is asked for.
RUN_AND_LOOK = """
import os, sys

class Look:
    def find_spec(self, name, path, target=None):
        if name == "trio":
            children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
            names = [open(f"/proc/{child}/comm").read().strip() for child in children]
            print("asked for trio beside", *names, flush=True)

sys.meta_path.insert(0, Look())
from mocker.supervisor.cli import run_command
sys.exit(run_command(["run", "sleep", "1000"]))
"""


def tell_nobody(text: str) -> None:
    pass


def run_on_new_terminal(spec: ContainerSpec, timeout: float | None = None) -> tuple[int, str, bool]:
    """Run a container on a terminal; return its status, what was shown, and if all is as found."""

    def run() -> tuple[int, str, bool]:
        master = lead_new_terminal()
        found = termios.tcgetattr(0)
        try:
            code = run_on_terminal(spec, timeout, tell_nobody)
        except CommandError as error:
            code = error.exit_code
        as_found = termios.tcgetattr(0) == found
        return code, read_shown(master), as_found

    return run_in_child(run)


@in_container
@pytest.mark.parametrize(
    ("text", "code"), [("exit 0", 0), ("exit 255", 255), ("kill -KILL $$", 137)]
)
def test_exit_status_is_the_commands(text: str, code: int) -> None:
    assert run_on_new_terminal(script(text, terminal=True)) == (code, "", True)


@in_container
def test_output_of_a_command_that_ends_at_once_is_shown() -> None:
    assert run_on_new_terminal(script("echo hello", terminal=True)) == (0, "hello\r\n", True)


@in_container
def test_exit_status_of_a_timeout_is_that_of_timeout() -> None:
    code, _, as_found = run_on_new_terminal(script("sleep 1000", terminal=True), timeout=0.2)

    assert (code, as_found) == (TIMED_OUT, True)


@in_container
def test_time_counts_while_the_event_loop_is_loaded() -> None:
    code, _, as_found = run_on_new_terminal(script("sleep 1000", terminal=True), timeout=0.001)

    assert (code, as_found) == (TIMED_OUT, True)


@in_container
def test_command_that_is_not_there_leaves_the_terminal_alone() -> None:
    code, _, as_found = run_on_new_terminal(ContainerSpec(["no-such-command"], terminal=True))

    assert (code, as_found) == (127, True)


@in_container
def test_what_is_not_as_asked_for_is_told_before_the_terminal_is_raw() -> None:
    def lower_and_run() -> list[str]:
        lead_new_terminal()
        told: list[str] = []

        def tell(note: str) -> None:
            flags: int = termios.tcgetattr(0)[1]
            told.append(f"{note} {'cooked' if flags & termios.OPOST else 'raw'}")

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        run_on_terminal(script("exit", terminal=True, rlimits=[Rlimit("core", 1, 1)]), None, tell)
        return told

    (note,) = run_in_child(lower_and_run)

    assert note.startswith("ulimit core is 0:0, not 1:1")
    assert note.endswith(" cooked")


@in_container
@requires_commands("setsid")
def test_container_is_there_before_trio_is_loaded() -> None:
    shell = [sys.executable, "-c", RUN_AND_LOOK]
    with open_terminal(shell, ready="asked for trio beside mocker-init\n") as terminal:
        # The terminal is raw by then, or a carriage return would have been added to the line.
        terminal.type("\x03")

        assert terminal.shell.wait() == 128 + signal.SIGINT
