"""The filter of system calls that a command gets, compiled once for each kind of container."""

from _collections_abc import Set
from errno import EFAULT

from ..errors import SetupError
from ..syscalls import PR_SET_SECCOMP, SECCOMP_MODE_FILTER, prctl
from . import DEFAULT, UNCONFINED
from .default import plan_default
from .ranges import compile_policies, find_tables

_MOST_KEPT = 100  # of some 2 KiB each
_compiled: dict[tuple[str, frozenset[str]], bytes] = {}


def find_filter(choice: str, capabilities: Set[str]) -> bytes:
    """Return the program that the kernel is to run before each system call; nothing for none.

    Args:
        choice: See `ContainerSpec.seccomp`.
        capabilities: Those that the container may have, such as "SYS_ADMIN".

    Raises:
        SetupError: There can be no such filter on this machine.
    """
    if choice == UNCONFINED:
        return b""
    key = choice, frozenset(capabilities)
    if key not in _compiled:
        if len(_compiled) == _MOST_KEPT:
            _compiled.clear()
        _compiled[key] = _compile(*key)
    return _compiled[key]


def _compile(choice: str, capabilities: Set[str]) -> bytes:
    _check_kernel()
    if choice != DEFAULT:
        # Which takes the json module: another 5 ms.
        from .profile import compile_profile

        try:
            return compile_profile(choice, capabilities)
        except ValueError as error:
            raise SetupError("filter system calls", hint=f"the seccomp profile {error}") from None
    tables = find_tables()
    policy = plan_default(capabilities)
    return compile_policies({table: policy for table, _ in tables}, tables)


def _check_kernel() -> None:
    """Ask the kernel to load a filter from nowhere, which it can't, if it can load any."""
    try:
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER)
    except OSError as error:
        if error.errno != EFAULT:
            raise SetupError(
                "filter system calls",
                error.errno or 0,
                hint="this kernel can't (CONFIG_SECCOMP_FILTER); --seccomp unconfined does without",
            ) from error
