"""Run a function where it can do no harm: in a child that ends at once, in new namespaces.

What runs between clone and exec is tested by running it. A child's result and exceptions come back,
so that a test reads as if the function had been called on the spot; what it mounts, drops or
executes goes away with the child.
"""

import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import NamedTuple, Protocol, TypeVar

from mocker.isolation.syscalls import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    PR_SET_PDEATHSIG,
    prctl,
    unshare,
)
from mocker.isolation.user_mapping import plan_user_mapping, write_user_mapping

T = TypeVar("T")


class Output(NamedTuple):
    """What a child wrote to stdout and stderr, and how it ended: a code, or -N for signal N."""

    text: str
    code: int


class InNewNamespaces(Protocol):
    """Runs a function as root of a new user namespace, in a mount namespace of its own."""

    def __call__(self, function: Callable[[], T], /) -> T: ...


def run_in_child(function: Callable[[], T]) -> T:
    """Return what a function returns, or raise what it raises, in a forked child."""
    return _run(function, 0)


def run_in_new_namespaces(function: Callable[[], T]) -> T:
    """Return what a function returns, or raise what it raises, as root of new namespaces.

    Nothing that it mounts is seen outside. A directory that only the caller may enter, such as
    pytest's tmp_path, is out of reach for it: its root is nobody on the host.
    """
    return _run(function, CLONE_NEWUSER | CLONE_NEWNS)


def capture_child(function: Callable[[], object]) -> Output:
    """Run a function that may execute a program in a forked child, and return its output."""
    memory = os.memfd_create("output")
    try:
        pid = os.fork()
        if pid == 0:
            _be_captured(function, memory)
        _, status = os.waitpid(pid, 0)
        text = os.pread(memory, os.fstat(memory).st_size, 0).decode(errors="surrogateescape")
    finally:
        os.close(memory)
    return Output(text, os.waitstatus_to_exitcode(status))


def _be_captured(function: Callable[[], object], memory: int) -> None:
    """Run the function with its output going to a file; does not return."""
    try:
        os.dup2(memory, 1)
        os.dup2(memory, 2)
        function()
    except BaseException:  # noqa: BLE001
        os.write(2, traceback.format_exc().encode(errors="backslashreplace"))
        os._exit(1)
    finally:
        os._exit(0)


def _run(function: Callable[[], T], namespaces: int) -> T:
    ours, theirs = Pipe()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _be_child(function, namespaces, theirs)
    theirs.close()
    try:
        if namespaces:
            ours.recv()
            write_user_mapping(pid, plan_user_mapping())
            ours.send("mapped")
        outcome: tuple[T, BaseException | None] = ours.recv()
    except EOFError:
        raise ChildProcessError(f"child {pid} ended without a result") from None
    finally:
        ours.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    result, error = outcome
    if error is not None:
        raise error
    return result


def _be_child(function: Callable[[], object], namespaces: int, parent: Connection) -> None:
    """Send (result, exception) to the parent; does not return."""
    try:
        if namespaces:
            unshare(namespaces)
            parent.send("unshared")
            parent.recv()
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        parent.send((function(), None))
    except BaseException as error:  # noqa: BLE001
        error.add_note(traceback.format_exc())
        parent.send((None, error))
    finally:
        os._exit(0)
