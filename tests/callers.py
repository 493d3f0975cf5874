"""Call mocker the way a caller in trouble would: from a process that was prepared for it.

What a caller brings along (descriptors, limits, signals, namespaces, filters) is inherited, so it
is set in a fork of the test process, which then becomes mocker. Whatever such a call leaves behind
is adopted by the test process, and counts as a leak.
"""

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from mocker.isolation.syscalls import prctl
from mocker.supervisor import check_host_command, cli, run_command
from tests.leaks import PATIENCE, POLL_INTERVAL, describe_process, read_children

MOCKER = Path(sys.executable).with_name("mocker")
PR_SET_CHILD_SUBREAPER = 36
IMPORTED_EARLY = (check_host_command, run_command)  # as `be_mocker` would be too late to
TEST_IS_WRONG = 99  # exit code of a call whose preparation raised

Act = Callable[[], object]


class Outcome(NamedTuple):
    """How a call ended: its exit code, or -N for signal N, and what it said."""

    code: int
    stdout: str
    stderr: str


def run(*arguments: str | bytes, stdin: bytes = b"") -> Outcome:
    """Run mocker from a process like any other."""
    return run_prepared(do_nothing, *arguments, stdin=stdin)


def run_prepared(
    prepare: Act,
    *arguments: str | bytes,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> Outcome:
    """Run mocker from a process that did `prepare` first."""

    def act() -> None:
        prepare()
        os.execve(MOCKER, (MOCKER, *arguments), os.environ if env is None else env)  # noqa: S606

    return call(act, stdin=stdin)


def be_mocker(*arguments: str) -> None:
    """Go on as mocker, without executing it: its files may be out of sight here."""
    sys.argv = ["mocker", *arguments]
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")  # pytest put its own there
    cli.main()


def call(act: Act, *, stdin: bytes = b"", timeout: float = 10) -> Outcome:
    """Act in a fork of this process, and wait until nothing is left of it.

    Args:
        act: What to do; its exceptions fail the test.
        stdin: At most what a pipe holds, 64 KiB.
        timeout: Seconds.
    """
    with adopted_orphans():
        stdin_read, stdin_write = os.pipe()
        stdout_read, stdout_write = os.pipe()
        stderr_read, stderr_write = os.pipe()

        def act_alone() -> None:
            for fd in (
                stdin_read,
                stdin_write,
                stdout_read,
                stdout_write,
                stderr_read,
                stderr_write,
            ):
                os.close(fd)
            act()

        pid = start(act_alone, (stdin_read, stdout_write, stderr_write))
        os.write(stdin_write, stdin)
        for fd in (stdin_read, stdin_write, stdout_write, stderr_write):
            os.close(fd)
        stdout, stderr = read_until_closed([stdout_read, stderr_read], timeout)
        ended = None not in {stdout, stderr}
        if not ended:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert ended, f"no end after {timeout} s"
    assert code != TEST_IS_WRONG, stderr
    return Outcome(code, stdout or "", stderr or "")


def start(act: Act, stdio: tuple[int, int, int]) -> int:
    """Act in a fork of this process, with signals as a shell has them, and return its pid."""
    # None arrives before the fork is done with Python's own handlers.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return pid
    code = TEST_IS_WRONG
    try:
        for number, fd in enumerate(stdio):
            os.dup2(fd, number)
        for handled in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(handled, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        act()
        code = 0
    except BaseException:  # noqa: BLE001
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def read_until_closed(fds: list[int], timeout: float) -> list[str | None]:
    """Return what comes out of each descriptor, None for one that is still open at the end."""
    texts = dict.fromkeys(fds, b"")
    still_open = set(fds)
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + timeout
    while still_open and (remaining := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(remaining * 1000):
            chunk = os.read(fd, 2**16)
            texts[fd] += chunk
            if not chunk:
                poll.unregister(fd)
                still_open.remove(fd)
    for fd in fds:
        os.close(fd)
    return [
        None if fd in still_open else text.decode("utf-8", "surrogateescape")
        for fd, text in texts.items()
    ]


@contextmanager
def adopted_orphans() -> Iterator[None]:
    """Fail if, after the block, something started in it goes on; reap what does not."""
    before = set(read_children())
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
        deadline = time.monotonic() + PATIENCE
        while survivors := reap(set(read_children()) - before):
            if time.monotonic() > deadline:
                names = [describe_process(pid) for pid in survivors]
                for pid in survivors:
                    os.kill(int(pid), signal.SIGKILL)
                    os.waitpid(int(pid), 0)
                pytest.fail(f"still there: {names}")
            time.sleep(POLL_INTERVAL)
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0)


def reap(pids: set[str]) -> set[str]:
    """Collect who has ended, and return who has not."""
    return {pid for pid in pids if os.waitid(os.P_PID, int(pid), os.WEXITED | os.WNOHANG) is None}


def do_nothing() -> None:
    """Prepare nothing."""


def read_refusal(outcome: Outcome, code: int) -> str:
    """Return the one line that a call said which failed with this exit code and no output."""
    assert (outcome.code, outcome.stdout) == (code, ""), outcome.stderr
    lines = outcome.stderr.splitlines()
    assert len(lines) == 1, outcome.stderr
    assert lines[0].startswith("mocker run: ")
    return lines[0].removeprefix("mocker run: ")


def describe_tree(top: Path) -> dict[str, tuple[object, ...]]:
    """Return what is in a directory, itself included: path to kind, mode, owner, size and time."""
    paths = [top, *top.rglob("*")]
    stats = {str(path): path.lstat() for path in paths}
    return {
        path: (oct(s.st_mode), s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns)
        for path, s in stats.items()
    }
