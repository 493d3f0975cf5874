"""The C program that benchmarks compare with makes mocker's system calls: each one, in its order.

Both are traced. A difference that is meant to be stands here, with its reason.
"""

import difflib
import os
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from mocker.isolation.own_program import find_own_program
from mocker.isolation.user_mapping import IdRange, UserMapping
from tests.benchmarks.start_latency import Setting, floor_command
from tests.requirements import (
    requires,
    requires_busybox,
    requires_commands,
    requires_user_namespaces,
)
from tests.traced import Calls, Traced, requires_tracing, trace

# The last of these is compared: what is looked at once in a process has been looked at by then.
CONTAINERS = 3
SPAWN = """
import os, sys
from mocker.isolation import ContainerSpec, ForkServer, spawn

null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
stdio = {"stdin": null, "stdout": null, "stderr": null}
server = ForkServer() if sys.argv[1] == "server" else None
for _ in range(int(sys.argv[2])):
    with (server.spawn if server else spawn)(
        ContainerSpec(["true"], rootfs="busybox"), **stdio
    ) as container:
        assert container.wait().shell_code == 0
if server:
    server.close()
"""
# Who looks at the processes of a machine can tell them apart.
OTHER_NAME = ['-prctl(PR_SET_NAME, "floor-init")', '+prctl(PR_SET_NAME, "mocker-init")']
# The init has what it is to do from a message, where it is not its parent's fork.
READING = ["+recvfrom(FD, TEXT, 61440, 0, NULL, NULL)"]
# `mocker run` has these as they are by default, other than most programs in Python.
DEFAULT_SIGNALS = [
    f"-rt_sigaction({name}, {{sa_handler=SIG_DFL, sa_mask=[], sa_flags=SA_RESTORER, "
    "sa_restorer=ADDRESS}, NULL, 8)"
    for name in ("SIGINT", "SIGPIPE")
]
# A socket object of Python's asks what it is.
SOCKET_OBJECT = [
    "+getsockname(FD, {sa_family=AF_UNIX}, [128 => 2])",
    "+getsockopt(FD, SOL_SOCKET, SO_TYPE, [5], [4])",
    "+getsockopt(FD, SOL_SOCKET, SO_PROTOCOL, [0], [4])",
]
# Memory for Python's objects, now and then; the milliseconds that the C program prints.
BESIDES = re.compile(r'(brk|madvise|mmap|mremap|munmap)\(|write\(FD, "[0-9.]+\\n"')


class Round(NamedTuple):
    """The calls that a container takes: of who makes it, of its init, and of its command."""

    parent: Calls
    init: Calls
    command: Calls


def make_traceable_mapping() -> UserMapping:
    """Return the mapping where nobody gains privileges, so that newuidmap(1) is of no use."""
    return UserMapping(
        [IdRange(0, os.getuid(), 1)], [IdRange(0, os.getgid(), 1)], deny_setgroups=True
    )


def find_own_program_obstacle() -> str:
    mapping = make_traceable_mapping()
    if os.geteuid() == 0 or find_own_program(mapping) is None:
        return ""
    return f"{sys.executable} is the caller's own: the command takes care not to lead to it"


def pick_last(traced: Traced) -> Round:
    parent, init = traced.list_clones("CLONE_NEWPID")[-1]
    (command,) = (clone for pid, clone in traced.list_clones("CLONE_NEWUSER") if pid == init)
    return Round(
        pick_last_round(traced.calls[parent]),
        traced.calls[init],
        pick_until_executed(traced.calls[command]),
    )


def pick_last_round(calls: Calls) -> Calls:
    """Return the calls from the end of a container to that of the next one."""
    ends = [n for n, call in enumerate(calls) if call.startswith("waitid(P_PIDFD")]
    first, last = ends[-2:] if len(ends) > 1 else (0, 0)
    return [call for call in calls[first : last + 1] if not BESIDES.match(call)]


def pick_until_executed(calls: Calls) -> Calls:
    executed = next(
        n for n, call in enumerate(calls) if call.startswith("execve(") and call.endswith(")")
    )
    return calls[: executed + 1]


def compare(floor: Calls, ours: Calls) -> list[str]:
    """Return what only the C program does, after a minus, and what only mocker does, after a plus.

    In their order; a call that is made at another place is there twice.
    """
    lines = list(difflib.unified_diff(floor, ours, n=0, lineterm=""))[2:]
    return [line for line in lines if not line.startswith("@@ ")]


pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.slow,
    requires_busybox,
    requires_commands("cc", "env", "setpriv"),
    requires_tracing,
    requires_user_namespaces,
    requires(find_own_program_obstacle),
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


def trace_floor(directory: Path, mode: str) -> Round:
    with ExitStack() as stack:
        setting = Setting(stack)
        if os.geteuid() != 0:
            setting.mapping = make_traceable_mapping()
        command = floor_command(setting, mode)
        return pick_last(trace(command, directory / mode, b"\n" * CONTAINERS))


@pytest.fixture(scope="module")
def floor(directory: Path) -> Round:
    return trace_floor(directory, "warm")


@pytest.fixture(scope="module")
def served_floor(directory: Path) -> Round:
    return trace_floor(directory, "served")


@pytest.fixture(scope="module")
def spawned(directory: Path) -> Round:
    argv = [sys.executable, "-c", SPAWN, "directly", str(CONTAINERS)]
    return pick_last(trace(argv, directory / "spawned"))


@pytest.fixture(scope="module")
def run(directory: Path) -> Round:
    mocker = Path(sys.executable).with_name("mocker")
    return pick_last(trace([str(mocker), "run", "true"], directory / "run"))


@pytest.fixture(scope="module")
def served(directory: Path) -> Round:
    argv = [sys.executable, "-c", SPAWN, "server", str(CONTAINERS)]
    return pick_last(trace(argv, directory / "server"))


def test_the_parent_makes_the_calls_of_the_c_program(floor: Round, spawned: Round) -> None:
    assert compare(floor.parent, spawned.parent) == [*SOCKET_OBJECT, *SOCKET_OBJECT]


def test_the_init_makes_the_calls_of_the_c_program(floor: Round, spawned: Round) -> None:
    assert compare(floor.init, spawned.init) == OTHER_NAME


def test_the_command_makes_the_calls_of_the_c_program(floor: Round, spawned: Round) -> None:
    assert compare(floor.command, spawned.command) == []


def test_the_init_of_a_fork_server_makes_the_calls_of_the_c_program(
    served_floor: Round, served: Round
) -> None:
    assert compare(served_floor.init, served.init) == [*READING, *OTHER_NAME]


def test_the_command_of_a_fork_server_makes_the_calls_of_the_c_program(
    served_floor: Round, served: Round
) -> None:
    assert compare(served_floor.command, served.command) == []


def test_the_init_of_mocker_run_makes_the_calls_of_the_c_program(floor: Round, run: Round) -> None:
    assert compare(floor.init, run.init) == OTHER_NAME


def test_the_command_of_mocker_run_makes_the_calls_of_the_c_program(
    floor: Round, run: Round
) -> None:
    assert compare(floor.command, run.command) == DEFAULT_SIGNALS
