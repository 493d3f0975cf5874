"""Probes of the system call filter.

Most calls have arguments that the kernel itself refuses, with another errno than the filter: so a
probe without the filter shows that it has reached the kernel, and does nothing there.
"""

from .kernel import call
from .probe import (
    NAMESPACES,
    Facts,
    Wall,
    probe,
)

_AF_ALG, _AF_VSOCK = 38, 40
_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_OPEN_TREE_CLONE = 1
_UFFD_USER_MODE_ONLY = 1
_REBOOT = Wall("seccomp, capabilities", "namespaces alone", place=NAMESPACES)


@probe("G-reboot", _REBOOT, "EPERM", then="EINVAL")
def reboot(facts: Facts) -> None:
    """Reboot."""
    call("reboot", 0, 0, 0, None)
