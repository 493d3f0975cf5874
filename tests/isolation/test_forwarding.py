"""Who gets a signal that is handed on."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mocker.isolation.forwarding import forward


@contextmanager
def started(script: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a shell that leads a group and waits for a child, which has its stdout too."""
    process = subprocess.Popen(
        ["env", "--default-signal", "sh", "-c", script],
        stdout=subprocess.PIPE,
        process_group=0,
    )
    assert process.stdout is not None
    with process:
        process.stdout.readline()
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_signal_that_terminals_send_goes_to_the_group() -> None:
    with started("echo up; sleep 1000; true") as process:
        forward(signal.SIGQUIT, process.pid)

        assert process.stdout is not None
        assert process.stdout.read() == b""  # nobody is left who has the other end
        assert process.wait() == -signal.SIGQUIT


def test_other_signals_go_to_the_child_alone() -> None:
    with started("sleep 1000 & echo up; wait") as process:
        forward(signal.SIGKILL, process.pid)

        assert process.wait() == -signal.SIGKILL
        os.killpg(process.pid, 0)  # the shell's child is still there


def test_child_that_leads_no_group_is_told_by_itself() -> None:
    process = subprocess.Popen(["env", "--default-signal", "sleep", "1000"])
    comm = Path(f"/proc/{process.pid}/comm")
    while comm.read_text() != "sleep\n":  # who starts tests in the background has SIGINT ignored
        time.sleep(0.01)

    forward(signal.SIGINT, process.pid)

    assert process.wait() == -signal.SIGINT


def test_signal_to_a_child_that_is_a_zombie_is_no_error() -> None:
    process = subprocess.Popen(["true"], process_group=0)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    forward(signal.SIGINT, process.pid)
    forward(signal.SIGTERM, process.pid)

    assert process.wait() == 0
