"""A `mocker run` that goes on while a test looks at it, and the processes that belong to it."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

MOCKER = Path(sys.executable).with_name("mocker")
DEFAULT_SIGNALS = ["env", "--default-signal"]

# Seconds. Long enough for a busy machine, and shorter than a test's time limit, which is longer in
# the machine of `tests/vm`.
PATIENCE = 60.0 if "MOCKER_TESTS_MACHINE" in os.environ else 10.0
POLL_INTERVAL = 0.01


@contextmanager
def open_run(*arguments: str, wrapper: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """Start `mocker run` with pipes on all three descriptors; kill it on the way out.

    As a shell starts it: alone in its process group, so that it can be stopped, and ignoring no
    signal, whatever the tests themselves were started with.
    """
    with subprocess.Popen(
        [*DEFAULT_SIGNALS, *wrapper, MOCKER, "run", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    """Wait for the next line that the command prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def find_descendants(pid: int) -> list[int]:
    """Return all processes below one, as the host sees them: the init first, then the command."""
    children = []
    with suppress(FileNotFoundError, ProcessLookupError):  # it ends just now
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                children += [int(child) for child in (thread / "children").read_text().split()]
    return children + [below for child in children for below in find_descendants(child)]


def read_uid(pid: int) -> int:
    """Return the user ID of a process, as the host sees it."""
    return Path(f"/proc/{pid}").stat().st_uid


@contextmanager
def watch(pids: Sequence[int]) -> Iterator[Callable[[], list[int]]]:
    """Provide a function that waits for processes to end and returns those that don't.

    By pidfd, because a number may be used again, and because it does not matter who reaps.
    """
    pidfds = {}
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended already
            pidfds[os.pidfd_open(pid)] = pid

    def wait_ended() -> list[int]:
        alive = dict(pidfds)
        deadline = time.monotonic() + PATIENCE
        while alive and (remaining := deadline - time.monotonic()) > 0:
            for pidfd in select.select(list(alive), [], [], remaining)[0]:
                del alive[pidfd]
        return sorted(alive.values())

    try:
        yield wait_ended
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


def wait_until(is_so: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Wait until something is so; return False if it does not become so."""
    deadline = time.monotonic() + patience
    while not is_so():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_INTERVAL)
    return True
