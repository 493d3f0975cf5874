"""Try in a child, in namespaces as containers have them, what the kernel lets containers do."""

import _signal as signal
import os
from _collections_abc import Callable

from .errors import SetupError
from .syscalls import clone3
from .user_mapping import plan_user_mapping, write_user_mapping


def try_in_namespaces(
    flags: int,
    act: Callable[[], None],
    step: str,
    before: Callable[[int], None] = lambda _: None,
    path: str = "",
) -> None:
    """Run a function in a child with new namespaces, as root there.

    Args:
        flags: Which, as clone flags.
        act: What the child does.
        step: What that is called, should it fail.
        before: What the caller does before, with the pid of the child, whose users are mapped.
        path: Where, should it fail.

    Raises:
        SetupError: The kernel grants no such namespaces, or the child has failed.

    Source: clone(2), user_namespaces(7).
    """
    read_end, write_end = os.pipe()
    try:
        pid, pidfd = clone3(flags, signal.SIGCHLD)
    except OSError as error:
        os.close(read_end)
        os.close(write_end)
        raise SetupError("create namespaces", error.errno or 0) from error
    if pid == 0:
        code = 255
        os.close(write_end)  # held open here, the pipe would never end
        try:
            if os.read(read_end, 1):
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
                act()
            code = 0
        except OSError as error:
            code = error.errno or code
        finally:
            os._exit(code)
    try:
        mapping = plan_user_mapping()
        write_user_mapping(pid, mapping)
        before(pid)
        os.write(write_end, b"g")
    finally:
        os.close(read_end)
        os.close(write_end)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
    if status:
        raise SetupError(step, os.waitstatus_to_exitcode(status), path)
